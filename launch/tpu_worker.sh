#!/usr/bin/env bash
# What launch/tpu_vm.sh runs on each host of a TPU: sets up .venv, starts the training in the
# background and follows its log to the end. A lost connection does not stop it: called again, this
# follows the training that runs, or tells how the one of this id ended.
#   bash launch/tpu_worker.sh ID --config=... --workdir=...
# Exits as the training does, but with 3 for its 1, which is gcloud's own for a lost connection, and
# with 4 where another training runs.
set -euo pipefail

id="$1"
shift
PATH="$HOME/.local/bin:$PATH"
if ! command -v uv >/dev/null; then
  curl -LsSf https://astral.sh/uv/install.sh | sh  # The images' own Python is 3.10.
fi
export ACCELERATOR=tpu
source "$(dirname "$0")/environment.sh"

kept="runs/tpu_worker"  # of the last training: id, arguments, pid, log, exit code
mkdir -p "$kept"
if grep -qs mpl.train "/proc/$(cat "$kept/pid" 2>/dev/null)/cmdline"; then
  if [ "$(cat "$kept/arguments")" != "$*" ]; then
    echo "error: another training runs on this TPU: $(cat "$kept/arguments"); wait for it, or give another --name." >&2
    exit 4
  fi
elif [ "$(cat "$kept/id" 2>/dev/null)" != "$id" ]; then
  rm -f "$kept/code"
  : >"$kept/log"
  echo "$id" >"$kept/id"
  echo "$*" >"$kept/arguments"
  # shellcheck disable=SC2016  # The inner shell is to expand these.
  setsid bash -c '"${@:2}" >>"$1/log" 2>&1; echo $? >"$1/code"' _ "$kept" \
    "$python" -m mpl.train --distributed "$@" </dev/null >/dev/null 2>&1 &
  echo $! >"$kept/pid"
fi

tail --lines=100 --follow --pid="$(cat "$kept/pid")" "$kept/log"
code="$(cat "$kept/code" 2>/dev/null || echo 143)"  # None is left where the shell around it was killed.
[ "$code" != 1 ] || code=3
exit "$code"
