#!/usr/bin/env bash
# All nodes in one process, same bits as any other way to run. Put breakpoint() into any code, yours or ours.
#   launch/debug.sh configs/experiments/quickstart.json
# In a strategy `nodes.X` has every node's row; in mixing.py `available` has them before the exchange.
set -euo pipefail
config=${1:?usage: launch/debug.sh CONFIG [options of gossipsim run]}
exec python -m gossipsim.runner --config "$config" --processes 1 --new "${@:2}"
