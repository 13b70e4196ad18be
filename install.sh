#!/bin/sh
# Installs eva and everything it needs into .venv, at the versions in constraints/. Does nothing if that is done.
# PYTHON: the interpreter to use. DEVICE: cpu (default) or gpu. Writes only here and into the caches of pip and uv.
set -eu
cd "$(dirname "$0")"
device=${DEVICE:-cpu}
pins=constraints/$device.txt
venv=.venv
stamp=$venv/eva-installed
unfinished=$venv/eva-unfinished
log=install.log

say() { printf '%s\n' "$@" >&2; }

fail() {
    say "$@"
    exit 1
}

[ -f "$pins" ] || fail "DEVICE=$device is not known. Use cpu or gpu."

# The key changes with the pins, this script, and the path of the checkout.
key="$device $(pwd) $(cat install.sh "$pins" | cksum)"
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$key" ]; then exit 0; fi

usable() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' >/dev/null 2>&1
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then set -- "$PYTHON"; else set -- python3.11 python3.12 python3.13 python3.14 python3 python; fi
    for candidate; do
        if usable "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    fail "Found no Python 3.11 to 3.14 with the venv module (tried: $*)." \
        "Install one (Debian, Ubuntu: apt-get install python3 python3-venv), or name it: PYTHON=/path/to/python make install"
}

phase() {
    say "  $1"
    shift
    printf '\n== %s\n' "$*" >>"$log"
    "$@" >>"$log" 2>&1 || fail "The install failed. The last lines of $(pwd)/$log:" "$(tail -n 15 "$log")" \
        "Fix what they name, then run the same command again."
}

# An environment that an interrupted install left behind, or that was moved here, is created again.
environment() {
    if [ -e "$unfinished" ] || ! usable "$venv/bin/python" || ! grep -qF "$(pwd)/$venv" "$venv/bin/activate"; then
        "$python" -m venv --clear "$venv" || return
    fi
    touch "$unfinished"
    "$venv/bin/python" -m pip --version || "$venv/bin/python" -m ensurepip
}

# If PIP_FIND_LINKS names a folder with torch's CPU build, it is taken from there; otherwise from PyTorch's own index.
torch_source() {
    [ "$device" = cpu ] || return 0
    tag=$("$venv/bin/python" -c 'import sys; print("cp%d%d" % sys.version_info[:2])')
    for folder in ${PIP_FIND_LINKS:-}; do
        for wheel in "$folder"/torch-*+cpu-"$tag"-*.whl; do
            [ ! -e "$wheel" ] || return 0
        done
    done
    echo --torch-backend=cpu
}

# uv reads only its own variables, and expects commas where pip expects spaces.
[ -z "${PIP_INDEX_URL:-}" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$PIP_INDEX_URL}"
[ -z "${PIP_FIND_LINKS:-}" ] || export UV_FIND_LINKS="${UV_FIND_LINKS:-$(echo "$PIP_FIND_LINKS" | tr -s ' ' ',')}"
[ -z "${PIP_CERT:-}" ] || export SSL_CERT_FILE="${SSL_CERT_FILE:-$PIP_CERT}"
VIRTUAL_ENV=$(pwd)/$venv
export VIRTUAL_ENV
python=$(find_python)
started=$(date +%s)
say "Installing eva for $device into $(pwd)/$venv (details: $log)"
: >"$log"
rm -f "$stamp"
phase "creating a Python environment with $python" environment
phase "installing uv, which installs the rest" "$venv/bin/python" -m pip install --disable-pip-version-check -q -c "$pins" uv
phase "installing $(grep -c '==' "$pins") packages (takes minutes the first time: about 1 GB is downloaded)" \
    "$venv/bin/python" -m uv pip install --compile-bytecode $(torch_source) \
    -c "$pins" -r pyproject.toml --extra "$device" --extra dev
phase "installing eva itself" "$venv/bin/python" -m uv pip install --no-deps --no-build-isolation -e .
rm -f "$unfinished"
printf '%s' "$key" >"$stamp"
say "  done in $(($(date +%s) - started)) s"
