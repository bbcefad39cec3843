"""One figure as files: PNG and PDF, each of which carries the command, key and version that it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from gossipsim.report.provenance import Provenance

_DPI = 144


@dataclass(frozen=True)
class Plot:
    """One figure; ``section`` is ``curves`` (per evaluation), ``steps``, ``final`` (against a swept value, ``x``),
    ``data`` (of all models) or ``network`` (of all tasks). What does not apply is blank.
    """

    task: str
    model: str
    section: str
    title: str
    x: str
    png: Path


def save(figure: Figure, plot: Plot, provenance: Provenance) -> None:
    """Writes both files; the same results give the same bytes."""
    title = ": ".join(filter(None, (", ".join(filter(None, (plot.task, plot.model))), plot.title)))
    origin = f"{provenance.command}; key {provenance.key}; gossipsim {provenance.version}"
    png: dict[str, Any] = {"Title": title, "Description": origin, "Command": provenance.command}
    png |= {"Key": provenance.key, "Software": f"gossipsim {provenance.version}"}
    pdf = {"Title": title, "Subject": origin, "Creator": f"gossipsim {provenance.version}"}
    pdf |= {"Keywords": f"command={provenance.command} key={provenance.key} version={provenance.version}"}
    plot.png.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(plot.png, dpi=_DPI, metadata=png, pil_kwargs={"compress_level": 4})
    figure.savefig(plot.png.with_suffix(".pdf"), dpi=2 * _DPI, metadata={**pdf, "CreationDate": None})
