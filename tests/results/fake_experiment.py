"""Writes experiment directories with deterministic synthetic curves, as a run would leave them."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gossipsim.results import run_directory, unique_names, write_json

EVALUATIONS = 12
STEPS_PER_EPOCH = 20


def ring(nodes: int) -> list[list[int]]:
    return [[node, (node + 1) % nodes] for node in range(nodes)] if nodes > 2 else [[0, 1]][: nodes - 1]


def complete(nodes: int) -> list[list[int]]:
    return [[i, j] for i in range(nodes) for j in range(i + 1, nodes)]


CELLS: dict[str, dict[str, Any]] = {
    f"nodes={nodes}, {topology}": {"network.nodes": nodes, "network.topology": f"networkx.{topology}"}
    for nodes in (4, 8)
    for topology in ("cycle_graph", "complete_graph")
}


def history(position: int, seed: int, *, diverged: bool = False) -> list[dict[str, Any]]:
    draws = np.random.default_rng([position, seed])
    rate, level = 0.1 + 0.03 * position, 0.02 * float(draws.standard_normal())
    records = []
    for epoch in range(EVALUATIONS):
        loss = 2.3 * math.exp(-rate * epoch) + 0.05 + 0.3 * abs(level)
        accuracy = 1 - 0.9 * math.exp(-rate * epoch) - abs(level)
        records.append(
            {
                "epoch": epoch,
                "step": STEPS_PER_EPOCH * epoch,
                "round": STEPS_PER_EPOCH * epoch,
                "train_loss": loss,
                "val_loss": 1.1 * loss,
                "val_accuracy": accuracy,
                "test_loss": 1.2 * loss,
                "test_accuracy": accuracy - 0.01,
                "local_train_loss_mean": 1.3 * loss,
                "local_train_loss_worst": 2 * loss,
                "local_test_accuracy_mean": accuracy - 0.03,
                "local_test_accuracy_worst": accuracy - 0.1,
                "consensus": 0.0 if epoch == 0 else 10 ** (-2 - 0.4 * epoch - 0.3 * position + level),
                "bytes_sent": 20480 * STEPS_PER_EPOCH * epoch * (1 + position % 4),
                "messages": 16 * STEPS_PER_EPOCH * epoch,
                "gradient_evals": 8 * STEPS_PER_EPOCH * epoch,
            }
        )
    if diverged:
        records = [
            *records[:4],
            {**records[4], "train_loss": math.inf, "test_accuracy": 0.1, "consensus": math.nan},
        ]
    return records


def steps(position: int, seed: int) -> list[dict[str, Any]]:
    draws = np.random.default_rng([position, seed, 1])
    total = STEPS_PER_EPOCH * (EVALUATIONS - 1)
    records: list[dict[str, Any]] = []
    for step in range(0, total + 1, 10):
        consensus = 0.0 if step == 0 else 10 ** (-2 - 0.02 * step)
        records.append({"step": step, "consensus": consensus})
        if step:
            noise = 1 + 0.1 * float(draws.standard_normal())
            records[-1]["batch_loss"] = 2.3 * math.exp(-0.005 * step) * noise
    return records


def write_lines(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def experiment(
    directory: Path,
    *,
    models: Sequence[str] = ("MLP", "LogisticRegression"),
    optimizers: Sequence[str] = ("SGD", "StochasticFrankWolfe"),
    cells: Mapping[str, Mapping[str, Any]] = CELLS,
    seeds: Sequence[int] = (0, 1),
    statuses: Mapping[tuple[str, str, str, int], str] | None = None,
    name: str = "digits_ring",
    message: str = "loss_fn: expected 10 classes, got 3",
) -> Path:
    """`statuses`: (model, optimizer, cell, seed) -> status of the runs that are not complete."""
    planned = []
    safe = {
        kind: dict(zip(names, unique_names(names), strict=True))
        for kind, names in (("model", list(models)), ("optimizer", list(optimizers)), ("cell", list(cells)))
    }
    combinations = [
        {"task": "digits", "model": model, "optimizer": optimizer, "cell": cell}
        for cell in cells
        for model in models
        for optimizer in optimizers
    ]
    for position, labels in enumerate(combinations):
        for seed in seeds:
            safe_labels = {kind: safe.get(kind, {}).get(label, label) for kind, label in labels.items()}
            folder = run_directory(directory, safe_labels, seed)
            key = f"{position:02d}{seed:02d}" * 16
            swept = dict(cells[labels["cell"]])
            entry = {**labels, "swept": swept, "seed": seed, "key": key}
            planned.append({"directory": folder.relative_to(directory).as_posix(), **entry})
            status = (statuses or {}).get((labels["model"], labels["optimizer"], labels["cell"], seed), "complete")
            if status != "missing":
                write_run(folder, entry, status, position, message)
    write_json(
        directory / "resolved.json",
        {"name": name, "key": "ab" * 32, "swept": list(next(iter(cells.values()))), "runs": planned},
    )
    write_json(directory / "config.json", {"name": name, "task_dirs": ["../tasks/digits"], "seeds": list(seeds)})
    write_json(
        directory / "env.json",
        {
            "command": ["gossipsim", "run", "configs/experiments/digits ring.json"],
            "version": "0.1.0",
            "python": "3.11.9",
            "packages": {"torch": "2.15.0", "numpy": "2.4.6"},
            "cores": 2,
        },
    )
    return directory


def write_run(folder: Path, entry: Mapping[str, Any], status: str, position: int, message: str) -> None:
    folder.mkdir(parents=True)
    error = {"message": message, "node": 3, "rank": 1, "traceback": f"Traceback ...\nValueError: {message}"}
    write_json(
        folder / "run.json",
        {
            **entry,
            "status": status,
            "error": error if status == "failed" else None,
            "spec": {},
            "version": "0.1.0",
        },
    )
    if status == "failed":
        return
    records = history(position, entry["seed"], diverged=status == "diverged")
    write_lines(folder / "history.jsonl", records)
    write_lines(folder / "steps.jsonl", steps(position, entry["seed"]))
    write_lines(
        folder / "timing.jsonl",
        [{"step": r["step"], "train_seconds": 0.05 * r["step"], "eval_seconds": 0.01} for r in records],
    )
    nodes = int(entry["swept"].get("network.nodes", 4))
    np.savez(folder / "parameters.npz", params=np.full((nodes, 3), position, dtype=np.float32))
    dense = "complete" in str(entry["swept"].get("network.topology"))
    edges = complete(nodes) if dense else ring(nodes)
    draws = np.random.default_rng([entry["seed"], nodes])
    histogram = draws.multinomial(150, draws.dirichlet(np.full(10, 0.3)), size=nodes)
    proportions = histogram / 150
    distances = np.abs(proportions - proportions.mean(axis=0)).sum(axis=1) / 2
    slem = 1 / 3 + 2 / 3 * math.cos(2 * math.pi / nodes)
    write_json(
        folder / "summary.json",
        {
            "status": status,
            "nodes": nodes,
            "parameters": 3,
            "steps": records[-1]["step"],
            "rounds": records[-1]["round"],
            "last": {},
            "best": {},
            "params_sha256": "c0ffee" + "0" * 58,
            "split": {"train": 1200, "val": 297, "test": 300},
            "class_histogram": histogram.tolist(),
            "total_variation": distances.tolist(),
            "shard_sizes": [150] * nodes,
            "network": {
                "name": "complete" if dense else "ring",
                "nodes": nodes,
                "edges": len(edges),
                "connected": True,
                "directed": False,
                "time_varying": False,
                "doubly_stochastic": True,
                "symmetric": True,
                "lambda_2": 0.0 if dense else slem,
                "lambda_min": 0.0 if dense else -1 / 3,
                "slem": 0.0 if dense else slem,
                "spectral_gap": 1.0 if dense else 1 - slem,
                "max_degree": nodes - 1 if dense else 2,
            },
            "graph": {"directed": False, "edges": edges},
            "warnings": ["validation shrank from 300 to 297 samples"] if position == 0 else [],
        },
    )


def rows(path: Path) -> list[dict[str, str]]:
    """A CSV file, a dict per row."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
