#!/usr/bin/env bash
# Train on several nodes of a SLURM cluster, one process a GPU; a job that is cut off and queued again continues exactly.
#
#   sbatch scripts/slurm_train.sh runs/big --config configs/real.yaml --data.root FOLDER
#
# The first word is the run folder, on a disk that all nodes share; the others are options of nowcast.train.
#SBATCH --job-name=nowcast
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

run=$1
shift
devices=(--trainer.accelerator gpu --trainer.devices "${SLURM_NTASKS_PER_NODE:-4}" --trainer.num_nodes "${SLURM_NNODES:-2}"
    --trainer.strategy ddp)

if [ -f "$run/config.yaml" ]; then
    words=(--resume "$run")
else
    words=("$@" --run "$run" --checkpoint_every 200)
fi
srun "${PYTHON:-python}" -m nowcast.train "${words[@]}" "${devices[@]}"
