#!/bin/sh
# The linters of compose.yaml, deploy/Dockerfile and the Helm chart, as locked, into var/linters: tests skip what needs them
# while they are not there. Returns at once when nothing has changed. `make linters` runs this.
set -eu
cd "$(dirname "$0")"
home=../../var/linters
uv=../../.venv/bin/uv
wanted=$(cat requirements.lock go.mod go.sum compose/main.go | sha256sum)
[ "$(cat "$home/.done" 2>/dev/null)" = "$wanted" ] && exit 0

echo "==> Linters in var/linters, as locked in tests/linters (they are built, which takes minutes)"
mkdir -p "$home"
home=$(cd "$home" && pwd)
"$uv" venv --quiet --clear --python ../../.venv/bin/python "$home"
"$uv" pip install --quiet --python "$home/bin/python" --require-hashes -r requirements.lock
# Quickly built, not quickly run.
PATH="$home/bin:$PATH" GOFLAGS=-mod=readonly CGO_ENABLED=0 GOTOOLCHAIN=local \
    go build -gcflags='all=-N -l' -ldflags='-s -w' -o "$home/bin/" ./compose helm.sh/helm/v3/cmd/helm
echo "$wanted" >"$home/.done"
