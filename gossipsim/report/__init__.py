"""Plots, the single-file HTML report and the README of an experiment, from result files alone.

Nothing that trains is imported here, and matplotlib only once something is drawn.
"""

from __future__ import annotations

from pathlib import Path

from gossipsim.report.provenance import Provenance, write_readme
from gossipsim.results import Results, load, write_text

__all__ = ["Provenance", "build", "plots", "write_readme"]


def plots(source: Path | str | Results) -> list[Path]:
    """Draws ``plots/`` of an experiment; returns the PNG files, each of which has a PDF beside it."""
    from gossipsim.report.figures import draw

    results = source if isinstance(source, Results) else load(source)
    return [plot.png for plot in draw(results, Provenance.of(results))]


def build(source: Path | str | Results) -> Path:
    """Draws ``plots/``, writes ``tables/`` and the self-contained ``report.html`` of an experiment; returns the latter.

    `source` is an experiment directory, a workflow (its newest experiment is taken) or loaded results.

    Raises:
        FileNotFoundError: when there is no experiment.
    """
    from gossipsim.report.figures import draw
    from gossipsim.report.page import render
    from gossipsim.report.tables import write

    results = source if isinstance(source, Results) else load(source)
    provenance = Provenance.of(results)
    write(results)
    page = results.directory / "report.html"
    write_text(page, render(results, draw(results, provenance), provenance))
    return page
