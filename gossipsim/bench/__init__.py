"""Benchmarks that a user runs on their own machine: ratios against bare loops, interleaved, medians.

Absolute times on a shared machine say little; a ratio measured in one run says much.
"""

from __future__ import annotations

from typing import Any

from rich.table import Table

from gossipsim.bench import optimizers, startup, training
from gossipsim.execution import one_thread

SUITES = {
    "one_node_mlp": training.one_node,
    "first_exchange": startup.first_exchange,
    "frank_wolfe_step": optimizers.frank_wolfe_step,
    "nuclear_lmo": optimizers.nuclear_lmo,
    "polar_factor": optimizers.polar_factor,
}


def measure(repeats: int = 5, suites: list[str] | None = None) -> dict[str, Any]:
    """The named benchmarks, or all; times are medians over `repeats`, ratios medians of ratios of neighbouring runs."""
    import torch._dynamo  # noqa: F401  imported by the first optimizer: not part of what is measured

    with one_thread():
        return {name: SUITES[name](repeats) for name in suites or SUITES}


def table(figures: dict[str, Any]) -> Table:
    """For a terminal."""
    shown = Table("benchmark", "figure", "value")
    for name, values in figures.items():
        for figure, value in values.items():
            shown.add_row(name, figure, f"{value:.4g}")
    return shown
