#!/usr/bin/env bash
# Several machines: start this on each of them, with the same HEAD (a machine that all can reach), HOSTS and CONFIG.
# They need the same installation and a file system that all of them see; rank 0 writes the results.
#   HEAD=10.0.0.1 HOSTS=2 PROCESSES=4 launch/multihost.sh configs/experiments/quickstart.json
set -euo pipefail
config=${1:?usage: HEAD=host HOSTS=n launch/multihost.sh CONFIG [options of gossipsim run]}
export OMP_NUM_THREADS=1
# where gloo picks the wrong network card: export GLOO_SOCKET_IFNAME=eth1
# At the end a machine may say that the rendezvous has gone: the head was first to leave. That is no failure.
export TORCH_CPP_LOG_LEVEL=ERROR
exec python -m torch.distributed.run \
  --nnodes="${HOSTS:?how many machines}" --nproc_per_node="${PROCESSES:-1}" \
  --rdzv_backend=c10d --rdzv_endpoint="${HEAD:?address of one of them}:${PORT:-29500}" --rdzv_id="${JOB:-gossipsim}" \
  -m gossipsim.runner --config "$config" "${@:2}"
