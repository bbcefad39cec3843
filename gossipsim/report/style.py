"""Colours, dashes and markers that stay the same in all figures of an experiment, and matplotlib's settings.

Colours: Okabe and Ito's palette, safe for colour-blind readers. An optimizer has a colour, a cell has a dash
and a marker, so that figures also work in grey; where there is one optimizer only, cells have the colours.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gossipsim.results import Results

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31", "#7F7F7F")
DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (1, 1.2)),
    (0, (6, 1.5, 1, 1.5)),
    (0, (3, 1.2, 1, 1.2, 1, 1.2)),
    (0, (9, 2)),
    (0, (2, 2)),
    (0, (9, 1.5, 3, 1.5)),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p")

FONT = "gossipsim sans"
_LETTERS = {*range(0x20, 0x7F), *range(0xA0, 0x180), *range(0x391, 0x3CA)}  # Latin and Greek
_LETTERS |= set(map(ord, "−×·±‖₀₁₂∇–—…⁻⁰¹²³⁴⁵⁶⁷⁸⁹∞≤≥"))
_SETTINGS: dict[str, Any] = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titley": 1.0,  # a fixed place is not searched for
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.linewidth": 0.4,
    "grid.color": "#dddddd",
    "lines.markersize": 3.2,
    "pdf.fonttype": 42,  # TrueType: journals refuse Type 3
    "text.parse_math": False,  # names of optimizers may hold a dollar sign
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
}


@dataclass(frozen=True)
class Style:
    """How one curve looks."""

    colour: str
    dash: Any
    marker: str


@dataclass(frozen=True)
class Styles:
    """The styles of an experiment, by position in its lists of optimizers and cells."""

    optimizers: Sequence[str]
    cells: Sequence[str]

    @classmethod
    def of(cls, results: Results) -> Styles:
        return cls(
            optimizers=list(dict.fromkeys(run.labels["optimizer"] for run in results.runs)),
            cells=list(dict.fromkeys(run.labels["cell"] for run in results.runs)),
        )

    def __call__(self, optimizer: str, cell: str) -> Style:
        number = self.cells.index(cell)
        coloured = number if len(self.optimizers) == 1 else self.optimizers.index(optimizer)
        return Style(PALETTE[coloured % len(PALETTE)], DASHES[number % len(DASHES)], MARKERS[number % len(MARKERS)])


def settings(text: Iterable[str]) -> Any:
    """matplotlib's settings for figures that show `text`, which decides whether the full font is needed."""
    beyond = set(map(ord, "".join(text))) - _LETTERS
    return {**_SETTINGS, "font.family": [FONT, "DejaVu Sans"] if beyond else FONT}


def add_font() -> None:
    """Makes a small cut of DejaVu Sans known to matplotlib as ``gossipsim sans``.

    matplotlib parses a font's whole file for every PDF; with the cut, a PDF takes half the time (0.10 s for
    0.21 s). Characters beyond Latin and Greek come from the full font.
    """
    import matplotlib
    from matplotlib import font_manager

    if any(font.name == FONT for font in font_manager.fontManager.ttflist):
        return
    # the name changes with what the cut is made of
    content = zlib.crc32(f"{matplotlib.__version__} {sorted(_LETTERS)}".encode())
    path = Path(matplotlib.get_cachedir()) / f"gossipsim_sans_{content:08x}.ttf"
    if not path.exists():
        _cut_font(Path(font_manager.findfont("DejaVu Sans")), path)
    font_manager.fontManager.addfont(path)


def _cut_font(source: Path, target: Path) -> None:
    import io

    from fontTools.subset import Options, Subsetter  # type: ignore[import-untyped]
    from fontTools.ttLib import TTFont  # type: ignore[import-untyped]

    from gossipsim.results.files import write_bytes

    subsetter = Subsetter(Options(layout_features=[], hinting=False, drop_tables=["FFTM"], name_IDs=["*"]))
    subsetter.populate(unicodes=_LETTERS)
    with TTFont(source) as font:
        subsetter.subset(font)
        for record in font["name"].names:
            if record.nameID in (1, 3, 4, 6, 16):  # family, unique, full, PostScript, typographic names
                record.string = FONT.replace(" ", "-") if record.nameID == 6 else FONT
        content = io.BytesIO()
        font.save(content)
    write_bytes(target, content.getvalue())
