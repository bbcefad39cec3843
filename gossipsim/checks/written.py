"""Verdicts as a table for a terminal and as a page of Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from gossipsim.checks.gates import Verdict
from gossipsim.spec import as_markdown

_COLUMNS = ("", "gate", "wanted", "found", "runs")


def table(verdicts: Sequence[Verdict]) -> Table:
    """PASS or FAIL per gate."""
    shown = Table(*_COLUMNS)
    for verdict in verdicts:
        style = "green" if verdict.passed else "red"
        mark, *rest = _row(verdict)
        shown.add_row(f"[{style}]{mark}[/{style}]", *map(escape, rest))
    return shown


def markdown(title: str, verdicts: Sequence[Verdict]) -> str:
    """The same as Markdown, with how many passed."""
    passed = sum(verdict.passed for verdict in verdicts)
    rows = [_COLUMNS, tuple("---" for _ in _COLUMNS), *map(_row, verdicts)]
    lines = [f"| {' | '.join(map(as_markdown, row))} |" for row in rows]
    return "\n".join([f"# {as_markdown(title)}", "", f"{passed} of {len(verdicts)} gates passed.", "", *lines, ""])


def plain(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """The same as JSON values; ``found`` is null where there is no finite value."""
    return [
        {
            "gate": verdict.name,
            "passed": verdict.passed,
            "wanted": verdict.wanted,
            "found": verdict.value if verdict.value is not None and math.isfinite(verdict.value) else None,
            "runs": verdict.runs,
            "reason": verdict.reason or None,
        }
        for verdict in verdicts
    ]


def _row(verdict: Verdict) -> tuple[str, ...]:
    found = verdict.reason if verdict.value is None else f"{verdict.value:.6g}"
    return ("PASS" if verdict.passed else "FAIL", verdict.name, verdict.wanted, found, str(verdict.runs))
