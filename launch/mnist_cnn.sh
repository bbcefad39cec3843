#!/usr/bin/env bash
# A CNN on MNIST, plain supervised training: one node, one process. GOSSIPSIM_DATA names the folder that has MNIST/raw.
#   GOSSIPSIM_DATA=~/data launch/mnist_cnn.sh --set trainer.params.epochs=1
set -euo pipefail
exec python -m gossipsim.runner --config configs/experiments/mnist_cnn.json --processes 1 "$@"
