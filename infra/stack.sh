#!/bin/sh
# The services of compose.yaml as plain processes on this machine: stack.sh up | down | status | start NAME | stop NAME | restart NAME
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
STACK=$(realpath -m -- "${STACK:-$root/stack}")
export STACK
cd "$root"
python=.venv/bin/python
if ! [ -x "$python" ]; then
    python=python3
    if ! $python -c 'import psutil, typer, yaml' 2>/dev/null; then
        echo "Error: trunkline is not installed in .venv, nor for python3. make stack installs it, and starts the stack." >&2
        exit 2
    fi
fi
PYTHONPATH="$root:$root/src" exec "$python" -m infra.stack "$@"
