#!/bin/sh
# Make a virtual environment with both commands and the tests' tools: deploy/venv.sh FOLDER
# Uses uv where it is installed, else fetches it into the environment itself.
set -eu
venv=$1
python=${PYTHON:-python3}

if ! command -v "$python" >/dev/null 2>&1 && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3 python3-venv >/dev/null
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "Python 3.11 or newer is needed; name it with: make install PYTHON=/path/to/python3" >&2
    exit 1
fi
if command -v uv >/dev/null 2>&1; then
    [ -x "$venv/bin/python" ] || uv venv --quiet --python "$("$python" -c 'import sys; print(sys.executable)')" "$venv"
    uv=uv
else
    if [ ! -x "$venv/bin/python" ]; then
        if ! "$python" -c 'import ensurepip' 2>/dev/null; then
            if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
                apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null
            else
                echo "Python's venv module is missing; install the package python3-venv" >&2
                exit 1
            fi
        fi
        "$python" -m venv "$venv"
    fi
    [ -x "$venv/bin/uv" ] || "$venv/bin/pip" install --quiet --disable-pip-version-check uv
    uv="$venv/bin/uv"
fi
VIRTUAL_ENV=$(cd "$venv" && pwd)
export VIRTUAL_ENV
"$uv" pip install --quiet --compile-bytecode -c constraints.txt -e '.[cloud,code,images,semantic,dev]'
