#!/bin/sh
# The services of compose.yaml as plain processes on this machine: stack.sh up | down | status | start NAME | stop NAME | restart NAME
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
STACK=$(realpath -m -- "${STACK:-$root/stack}")
export STACK
cd "$root"
python=.venv/bin/python
[ -x "$python" ] || python=python3
PYTHONPATH="$root:$root/src" exec "$python" -m infra.stack "$@"
