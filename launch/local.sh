#!/usr/bin/env bash
# Sets up .venv, then trains on this machine: CPU, GPUs or a single TPU VM.
#   bash launch/local.sh                   the main job: four methods on the digits with 40 labels
#   bash launch/local.sh --config=... ...  arguments of python -m mpl.train
set -euo pipefail
source "$(dirname "$0")/environment.sh"

if [ $# -gt 0 ]; then
  exec "$python" -m mpl.train "$@"
fi
exec "$python" -m mpl.compare --seeds=1 --workdir=runs/digits_40 --configs \
  configs/digits_40_supervised.py configs/digits_40_pseudo_label.py \
  configs/digits_40_uda.py configs/digits_40_mpl.py
