#!/usr/bin/env bash
# Two torchrun agents on this machine that meet over 127.0.0.1, as two machines would: a rehearsal of multihost.sh.
#   launch/two_nodes_loopback.sh configs/experiments/quadratic_gossip.json --set trainer.params.steps=20
set -euo pipefail
config=${1:?usage: launch/two_nodes_loopback.sh CONFIG [options of gossipsim run]}
here=$(dirname "$0")
export HEAD=127.0.0.1 HOSTS=2 PROCESSES="${PROCESSES:-2}" PORT="${PORT:-29511}" JOB="loopback-$$" GLOO_SOCKET_IFNAME=lo
"$here/multihost.sh" "$config" "${@:2}" &
second=$!
trap 'kill "$second" 2>/dev/null || true' EXIT
"$here/multihost.sh" "$config" "${@:2}"
wait "$second"
