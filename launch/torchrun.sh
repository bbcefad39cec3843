#!/usr/bin/env bash
# One machine, PROCESSES ranks (default 8) under torchrun. With as many ranks as nodes, a process is a node.
#   launch/torchrun.sh configs/experiments/quickstart.json
#   PROCESSES=4 launch/torchrun.sh configs/experiments/quadratic_gossip.json --set trainer.params.steps=20
set -euo pipefail
config=${1:?usage: launch/torchrun.sh CONFIG [options of gossipsim run]}
# ranks are the parallelism: more than one thread in each only makes them fight for cores
export OMP_NUM_THREADS=1
exec python -m torch.distributed.run --standalone --nproc_per_node="${PROCESSES:-8}" \
  -m gossipsim.runner --config "$config" "${@:2}"
