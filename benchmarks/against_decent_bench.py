"""DGD on the same quadratics in gossipsim and in decent-bench: equal iterates, and the time of an iteration.

    python benchmarks/against_decent_bench.py --peer /tmp/decent-bench/bin/python

Exit code 1: the iterates differ, or the goal is missed.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from gossipsim.bench.jobs import LR, VECTOR, job, step_cost
from gossipsim.execution import one_thread
from gossipsim.parts import Parts
from gossipsim.world import Alone

PEER = Path(__file__).with_name("peers") / "decent_bench_dgd.py"
TOLERANCE, GOAL = 1e-8, 5.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", required=True, help="the Python of an environment with decent-bench")
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--dim", type=int, default=20)
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, one_thread():
        folder = Path(name)
        problem = _problem(folder, options.nodes, options.dim)
        parts = _ours(problem, options.nodes, options.iterations)
        ours = _iterates(parts, folder)
        pairs = []
        for _ in range(options.repeats):
            theirs = _theirs(options.peer, problem, folder / "theirs.npz", options.iterations)
            pairs.append((step_cost(parts).cpu, float(theirs["cpu"])))
    difference = float(np.abs(ours - theirs["X"]).max())
    weights = float(np.abs(parts.network.matrix(0).toarray() - theirs["W"]).max())
    gain = median(peer / own for own, peer in pairs)
    print(f"largest difference of W: {weights:.1e}, of the last iterates: {difference:.1e} (goal <= {TOLERANCE})")
    print(f"CPU time of an iteration of {options.nodes} nodes, d = {options.dim}:")
    print(f"gossipsim {median(own for own, _ in pairs) * 1e6:.0f} us, ", end="")
    print(f"decent-bench {median(peer for _, peer in pairs) * 1e6:.0f} us")
    print(f"gossipsim is {gain:.1f} times as fast (goal >= {GOAL:g})")
    return int(difference > TOLERANCE or gain < GOAL)


def _problem(folder: Path, nodes: int, dim: int) -> Path:
    """A (nodes, dim, dim) with singular values up to about 1, and b (nodes, dim)."""
    draws = np.random.default_rng(0)
    A = draws.standard_normal((nodes, dim, dim)) / (2 * np.sqrt(dim))
    np.savez(folder / "problem.npz", A=A, b=draws.standard_normal((nodes, dim)))
    return folder / "problem.npz"


def _ours(problem: Path, nodes: int, iterations: int) -> Parts:
    task = {"class": "gossipsim.tasks.QuadraticTask", "params": {"path": str(problem)}}
    settings: dict[str, Any] = {"batch_size": None, "dtype": "float64", "log_every": iterations // 2}
    strategy = {"class": "gossipsim.strategies.LocalAndGossip"}
    return job(task, VECTOR, iterations, nodes, "ring", strategy, **settings)


def _iterates(parts: Parts, folder: Path) -> np.ndarray[Any, Any]:
    """The rows (nodes, dim) after the last iteration."""
    parts.trainer.fit(parts, Alone(), folder, lambda message: None)
    rows: np.ndarray[Any, Any] = np.load(folder / "parameters.npz")["params"]
    return rows


def _theirs(python: str, problem: Path, result: Path, iterations: int) -> dict[str, np.ndarray[Any, Any]]:
    subprocess.run([python, PEER, problem, result, str(iterations), str(LR)], check=True)
    return dict(np.load(result))


if __name__ == "__main__":
    raise SystemExit(main())
