#!/usr/bin/env bash
# Submits a training to SLURM: one process on each node, which drives all GPUs there. The job starts
# again where it stopped after a preemption, a lost node or the end of its time.
#
#   bash launch/slurm.sh [--nodes=1] [--gpus=8] [options] -- --config=... --workdir=...
#
#   --nodes=1    how many nodes
#   --gpus=8     GPUs of each node
#   --dry-run    shows the commands, of here and of the job, and runs none
#   --partition, --account, --qos, --time, --mem, --cpus-per-task, --constraint, --reservation,
#   --job-name, --output (each with =...), --exclusive: as for sbatch
#
# The checkout and the work directory must lie on a file system that all nodes see.
set -euo pipefail
source "$(dirname "$0")/commands.sh"

nodes=1 gpus=8 dry_run="" options=(--requeue --open-mode=append)
while [ $# -gt 0 ]; do
  case "$1" in
    --nodes=*) nodes="${1#*=}" ;;
    --gpus=*) gpus="${1#*=}" ;;
    --dry-run) dry_run=yes ;;
    --partition=* | --account=* | --qos=* | --time=* | --mem=* | --cpus-per-task=* | --constraint=* | \
      --reservation=* | --job-name=* | --output=* | --exclusive) options+=("$1") ;;
    --help | -h) explain; exit 0 ;;
    --) shift; break ;;
    *) fail "the option '$1' is unknown; see --help. Arguments of the training come after --." ;;
  esac
  shift
done
[[ "$nodes" =~ ^[1-9][0-9]*$ ]] || fail "--nodes is '$nodes'; give a number from 1."
[[ "$gpus" =~ ^[1-9][0-9]*$ ]] || fail "--gpus is '$gpus'; give the number of GPUs of each node, from 1."
[[ " $* " == *" --config="* && " $* " == *" --workdir="* ]] ||
  fail "after -- there must be --config=... and --workdir=...; give the arguments of python -m mpl.train."
[ -n "$dry_run" ] || command -v sbatch >/dev/null ||
  fail "sbatch was not found; run this on a login node of a SLURM cluster."

cd "$(dirname "$0")/.."
run sbatch --nodes="$nodes" --ntasks-per-node=1 --gpus-per-node="$gpus" --signal=TERM@120 \
  "${options[@]}" launch/slurm_job.sh "$gpus" "$@"
[ -z "$dry_run" ] || dry_run=yes bash launch/slurm_job.sh "$gpus" "$@"
