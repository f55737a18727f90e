#!/bin/sh
# Sets up all that Shelfwise needs: Python 3.11 environment, packages, Java, jars. Everything but system packages lands
# in .venv. Returns at once when nothing it depends on has changed, and repairs a set-up that was interrupted.
set -eu
cd "$(dirname "$0")/.."

python=.venv/bin/python
stamp=.venv/.setup-done

fingerprint() {
    cat requirements.lock pyproject.toml deploy/jars.lock deploy/*.ivy.xml deploy/uv.lock.txt deploy/browser.lock | sha256sum | cut -d' ' -f1
}

up_to_date() {
    [ -x "$python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$(fingerprint)" ] && {
        [ -x "${JAVA_HOME:-}/bin/java" ] || command -v java >/dev/null
    }
}

is_python_3_11() {
    "$1" -c 'import sys; raise SystemExit(sys.version_info[:2] != (3, 11))' 2>/dev/null
}

base_python() {
    for candidate in python3.11 python3; do
        if is_python_3_11 "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

make_environment() {
    if is_python_3_11 "$python"; then
        return
    fi
    base=$(base_python) || {
        sh deploy/apt_install.sh python3.11 python3.11-venv && base=$(base_python) || {
            echo "Shelfwise needs Python 3.11 as python3.11 or python3 on the PATH." >&2
            exit 1
        }
    }
    # Debian keeps the part of venv that brings pip in a package of its own.
    "$base" -c 'import ensurepip, venv' 2>/dev/null || sh deploy/apt_install.sh python3.11-venv
    rm -rf .venv/bin .venv/lib .venv/lib64 .venv/pyvenv.cfg
    "$base" -m venv .venv
}

step() {
    echo "==> $1"
    shift
    begun=$(date +%s)
    "$@"
    echo "    $(($(date +%s) - begun)) s"
}

if up_to_date; then
    exit 0
fi
mkdir -p .venv
exec 9>.venv/.setup-lock
flock 9
if up_to_date; then
    exit 0
fi
wanted=$(fingerprint)
step "Python environment in .venv" make_environment
step "Java and system libraries" $python -m deploy.setup_system
step "Python packages, as locked in requirements.lock" $python -m deploy.setup_packages
step "Kafka and Spark jars, as locked in deploy/jars.lock" $python -m deploy.setup_jars
step "Segment's library for browsers, as locked in deploy/browser.lock" $python -m deploy.setup_browser_library
echo "$wanted" >"$stamp.part"
mv "$stamp.part" "$stamp"
echo "==> Set-up complete"
