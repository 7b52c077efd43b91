#!/usr/bin/env bash
# Sets up .venv, then trains on this machine: CPU, all its GPUs or a single TPU VM, in one process.
#   bash launch/local.sh                   the main job: four methods on the digits with 40 labels
#   bash launch/local.sh --config=... ...  arguments of python -m mpl.train
#   bash launch/local.sh --dry-run ...     shows the commands and runs none
set -euo pipefail

dry_run=""
if [ "${1:-}" = --dry-run ]; then
  dry_run=yes
  shift
fi
source "$(dirname "$0")/environment.sh"

if [ $# -gt 0 ]; then
  train=(mpl.train "$@")
else
  train=(mpl.compare --seeds=1 --workdir=runs/digits_40 --configs
    configs/digits.py:supervised configs/digits.py:pseudo_label
    configs/digits.py:uda configs/digits.py:mpl)
fi
[ -n "$dry_run" ] || exec "$python" -m "${train[@]}"
run "$python" -m "${train[@]}"
