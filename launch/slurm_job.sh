#!/usr/bin/env bash
# The job that launch/slurm.sh submits; SLURM runs it on the first of the nodes.
#   launch/slurm_job.sh GPUS --config=... --workdir=...
# Two minutes before the end of its time SLURM sends the processes (not this shell) SIGTERM: they
# save, exit with 143, and the job is put in the queue again. SLURM itself does that after a
# preemption or a lost node. A canceled job ends here, because then this shell gets the signal too.
set -euo pipefail

export ACCELERATOR="${ACCELERATOR:-cuda13}"
# shellcheck source=environment.sh
source launch/environment.sh

gpus="$1"
shift
# srun does not take this over from sbatch by itself.
[ -z "${SLURM_CPUS_PER_TASK:-}" ] || export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"
# By itself JAX would give each process under SLURM one GPU. One that has saved must not end others that save.
code=0
run env JAX_LOCAL_DEVICE_IDS="$(seq -s, 0 $((gpus - 1)))" \
  srun --kill-on-bad-exit=0 "$python" -m mpl.train --distributed "$@" || code=$?
[ "$code" != 143 ] || run scontrol requeue "$SLURM_JOB_ID"
exit "$code"
