#!/bin/sh
# apt_install.sh PACKAGE...: installs Debian packages as root or through sudo without a password, else says what to run.
# Exit code 1: apt does not have a package; 2: nothing can be installed by this user on this machine.
set -eu

command="apt-get install -y --no-install-recommends $*"
if ! command -v apt-get >/dev/null 2>&1; then
    echo "Please install the equivalent of these Debian packages, then run the command again: $*" >&2
    exit 2
elif [ "$(id -u)" = 0 ]; then
    as_root=""
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    as_root="sudo -n"
else
    echo "Installing $* needs root. Please run:  sudo apt-get update && sudo $command" >&2
    exit 2
fi

apt() {
    # A fresh Ubuntu may be busy with its own updates, so wait for their lock rather than fail.
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=180 "$@"
}

install() {
    apt install -y --no-install-recommends "$@" >/dev/null
}

# Package lists may be absent (slim images) or old, so they are fetched when the first attempt fails.
install "$@" 2>/dev/null || { apt update && install "$@"; } || {
    echo "apt-get could not install $* (its messages are above)." >&2
    exit 1
}
