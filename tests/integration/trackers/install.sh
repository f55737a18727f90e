#!/bin/sh
# What the tests of this folder send with: Node, the JavaScript trackers (locked) and a browser without windows.
set -eu
cd "$(dirname "$0")"
apt_install=../../../deploy/apt_install.sh

command -v npm >/dev/null 2>&1 || sh "$apt_install" nodejs npm
for browser in chromium-headless-shell chromium google-chrome; do
    command -v "$browser" >/dev/null 2>&1 && found=yes
done
[ -n "${found:-}" ] || sh "$apt_install" chromium-headless-shell
npm ci --ignore-scripts --no-audit --no-fund
