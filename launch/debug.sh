#!/usr/bin/env bash
# All nodes in one process under pdb: same bits as any other way to run, and breakpoint() works, also in your own code.
#   launch/debug.sh configs/experiments/quickstart.json
# At the prompt: `c` runs to the first breakpoint() or uncaught error; `b gossipsim/mixing.py:150` stops at each exchange.
set -euo pipefail
config=${1:?usage: launch/debug.sh CONFIG [options of gossipsim run]}
exec python -m pdb -m gossipsim.runner --config "$config" --processes 1 --new "${@:2}"
