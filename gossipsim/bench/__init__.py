"""Benchmarks that a user runs on their own machine: ratios against bare loops, interleaved, medians.

Absolute times on a shared machine say little; a ratio measured in one run says much.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rich.table import Table

from gossipsim.bench import exchange, many_nodes, mixing, one_node, optimizers, startup
from gossipsim.bench.measuring import Figures, OthersWork, caution, machine
from gossipsim.execution import one_thread

SUITES: dict[str, Callable[[int], Figures]] = {
    "one_node": one_node.one_node,
    "many_nodes": many_nodes.against_naive,
    "engines": many_nodes.engines,
    "thousand_nodes": many_nodes.thousand,
    "scaling": many_nodes.scaling,
    "mixing": mixing.mixing,
    "exchange": exchange.exchange,
    "ring_step": exchange.ring_step,
    "ddp": exchange.ddp,
    "startup": startup.startup,
    "many_ranks": startup.many_ranks,
    "frank_wolfe_step": optimizers.frank_wolfe_step,
    "nuclear_lmo": optimizers.nuclear_lmo,
    "polar_factor": optimizers.polar_factor,
}


def measure(
    repeats: int = 5,
    suites: list[str] | None = None,
    tell: Callable[[str], None] = lambda _: None,
    keep: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """The named benchmarks, or all; times are medians over `repeats`, ratios medians of ratios of neighbouring runs.

    Args:
        tell: hears the name of each before it begins.
        keep: gets what there is after each, in the form of the result.

    Returns:
        JSON-able: `machine`; `caution`, None or why not to trust the figures; `repeats`; and `suites`, of each its
        `figures` ({name: value, unit, goal, holds}), its `seconds`, and how many cores `others` kept busy meanwhile.
    """
    import torch._dynamo  # noqa: F401  imported by the first optimizer: not part of what is measured

    measured: dict[str, Any] = {"machine": {}, "caution": None, "repeats": repeats, "suites": {}}
    with one_thread():
        measured["machine"] = machine()
        for name in suites or SUITES:
            tell(name)
            measured["suites"][name] = _suite(name, repeats)
            others = [suite["others"] for suite in measured["suites"].values()]
            measured["caution"] = caution(others, measured["machine"]["cores"])
            keep(measured)
    return measured


def _suite(name: str, repeats: int) -> dict[str, Any]:
    others, started = OthersWork(), time.perf_counter()
    figures = {figure: value.as_dict() for figure, value in SUITES[name](repeats).items()}
    return {"figures": figures, "seconds": time.perf_counter() - started, "others": others.cores()}


def summary_of(name: str) -> str:
    """What a suite measures, in a line."""
    return (SUITES[name].__doc__ or "").strip().splitlines()[0]


def table(measured: dict[str, Any]) -> Table:
    """For a terminal."""
    shown = Table("benchmark", "figure", "value", "unit", "goal", "holds")
    for name, suite in measured["suites"].items():
        for figure, about in suite["figures"].items():
            verdict = {None: "", True: "yes", False: "[red]no[/red]"}[about["holds"]]
            shown.add_row(name, figure, f"{about['value']:,.4g}", about["unit"], about["goal"] or "", verdict)
        shown.add_section()
    return shown
