"""The states of a run, and which may follow which. run.json has the state; who holds the lock changes it.

    missing       no run.json, or that of another run
    running       a launcher is at it, which run.json names
    complete      a result; manifest.json has the digests of its files
    diverged      a result as well
    failed        run.json has the error
    interrupted   stopped; goes on from its checkpoint

A launcher that is killed leaves "running" behind; who knows it to be dead reads that as interrupted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gossipsim.results.processes import Process

RESULTS = ("complete", "diverged")
"""States that are results: skipped when the experiment is started again."""

ENDED = (*RESULTS, "failed")
"""States after which nothing more comes from a run, unless it is run again."""

FOLLOWING = {"running": ("running", *ENDED, "interrupted")} | dict.fromkeys(
    ("missing", *ENDED, "interrupted"), ("running",)
)
"""The states that may come next."""


def state_of(record: Mapping[str, Any]) -> str:
    """The state of a run whose run.json this is."""
    state = str(record.get("status"))
    launcher = Process.of(record.get("launcher")) if state == "running" else None
    return "interrupted" if launcher is not None and launcher.lives() is False else state
