"""Runs DGD in decent-bench on the problem of a file; for its own environment, where gossipsim is not installed.

Usage: python decent_bench_dgd.py PROBLEM.npz RESULT.npz ITERATIONS STEP_SIZE
"""

import sys
import time

import networkx
import numpy
from decent_array import interoperability
from decent_bench.agents import Agent
from decent_bench.algorithms.p2p import DGD
from decent_bench.costs import QuadraticCost
from decent_bench.networks import P2PNetwork


def main(problem, result, iterations, step_size):
    """f_i(x) = 1/2 ||A_i x - b_i||^2 on a ring, from zero."""
    interoperability.set_backend("numpy")
    given = numpy.load(problem)
    array = interoperability.from_numpy
    costs = [QuadraticCost(array(A.T @ A), array(-A.T @ b)) for A, b in zip(given["A"], given["b"], strict=True)]
    agents = [Agent(cost, state_snapshot_period=iterations) for cost in costs]
    network = P2PNetwork(networkx.cycle_graph(len(agents)), agents)
    algorithm = DGD(step_size=step_size)
    algorithm.run(network, 10)  # whatever is only done once
    wall, cpu = time.perf_counter(), time.process_time()
    algorithm.run(network, iterations)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    rows = numpy.stack([interoperability.to_numpy(agent.x) for agent in agents])
    weights = interoperability.to_numpy(network.weights)
    numpy.savez(result, X=rows, W=weights, wall=wall / iterations, cpu=cpu / iterations)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
