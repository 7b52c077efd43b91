#!/usr/bin/env bash
# What one GPU does in ten minutes: the quickstart, a step of WRN-28-2 on CIFAR-10 with MPL, and short
# trainings with UDA and MPL with 4,000 labels; one JSON and one table.
#   bash benchmarks/gpu.sh                              CIFAR-10 of tensorflow-datasets
#   bash benchmarks/gpu.sh --config.source.data_dir=data
# Arguments are those of python -m benchmarks.gpu_session. The time starts when .venv is installed; where
# there is no network, INSTALLED=python3 names a Python that has the requirements.
set -euo pipefail
source "$(dirname "$0")/../launch/environment.sh"
exec "$python" -m benchmarks.gpu_session "$@"
