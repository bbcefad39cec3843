#!/usr/bin/env bash
# Frank-Wolfe on L2, L-infinity, K-sparse and nuclear balls, Muon and Scion beside SGD and Adam: a CNN on MNIST, 3 epochs,
# 2 seeds, one node. Results go to workflow/frankwolfe/exp_XXXX/; the same command resumes.
#   GOSSIPSIM_DATA=~/data launch/frankwolfe_mnist_cnn.sh --jobs 2
set -euo pipefail
exec python -m gossipsim.runner --config configs/experiments/frankwolfe_mnist_cnn.json --processes 1 "$@"
