"""Colours, dashes and markers that stay the same in all figures of an experiment, and matplotlib's settings.

Colours: Okabe and Ito's palette, safe for colour-blind readers. An optimizer has a colour, a topology a dash, what
else is swept a marker, so that figures also work in grey. Where there is one optimizer only, the other swept values
have the colours too. Well-known optimizers and topologies look the same in all experiments that can afford it; a
single topology is drawn solid.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from gossipsim.report.parts import Parts
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
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h")

# The places of well-known families in PALETTE and DASHES.
OPTIMIZERS = {
    "SGD": 0,
    "Adam": 1,
    "AdamW": 1,
    "FrankWolfe": 2,
    "StochasticFrankWolfe": 2,
    "Muon": 3,
    "Scion": 4,
    "ProjectedSGD": 5,
}
TOPOLOGIES = {
    "ring": 0,
    "complete": 1,
    "star": 2,
    "torus": 3,
    "grid": 3,
    "hypercube": 4,
    "exponential": 5,
    "one_peer_exponential": 6,
    "path": 6,
    "erdos_renyi": 7,
    "random_regular": 7,
}

_SYMBOLS = {
    "o": "circle",
    "s": "square",
    "^": "triangle-up",
    "D": "diamond",
    "v": "triangle-down",
    "P": "cross",
    "X": "x",
    "*": "star",
    "<": "triangle-left",
    ">": "triangle-right",
    "p": "pentagon",
    "h": "hexagon",
}

FONT = "gossipsim sans"
_LETTERS = {*range(0x20, 0x7F), *range(0xA0, 0x180), *range(0x391, 0x3CA)}  # Latin and Greek
_LETTERS |= set(map(ord, "−×·±‖₀₁₂∇–—…⁻⁰¹²³⁴⁵⁶⁷⁸⁹∞≤≥≈"))
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
    """How one curve looks, in matplotlib's words and in plotly's."""

    colour: str
    dash: Any
    marker: str

    @property
    def plotly_dash(self) -> str:
        return "solid" if self.dash == "-" else ",".join(f"{2 * length:g}px" for length in self.dash[1])

    @property
    def plotly_symbol(self) -> str:
        return _SYMBOLS[self.marker]


@dataclass(frozen=True)
class Styles:
    """The styles of an experiment, the same in all its figures.

    ``topologies`` and ``rests`` say what a cell is made of: its topology, and its other swept values in words.
    ``families`` has for optimizers and topologies the name they are well known by, ``groups`` for the candidates of a
    tuned optimizer the latter's name: they share its colour.
    """

    optimizers: Sequence[str]
    cells: Sequence[str]
    topologies: Mapping[str, str] = field(default_factory=dict)
    rests: Mapping[str, str] = field(default_factory=dict)
    families: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, results: Results) -> Styles:
        parts = Parts.of(results)
        return cls(
            optimizers=list(dict.fromkeys(run.labels["optimizer"] for run in results.runs)),
            cells=list(dict.fromkeys(run.labels["cell"] for run in results.runs)),
            topologies=parts.topologies,
            rests=parts.rest(()),
            families=parts.families,
            groups=parts.groups,
        )

    def __call__(self, optimizer: str, cell: str) -> Style:
        slots = self._slots
        at = {"optimizer": self.group(optimizer), "topology": self.topology(cell), "rest": self.rest(cell)}
        coloured, marked = (slots[kind][at[kind]] for kind in (self.coloured, self.marked))
        dashed = slots["topology"][at["topology"]] if len(slots["topology"]) > 1 else 0
        return Style(PALETTE[coloured % len(PALETTE)], DASHES[dashed % len(DASHES)], MARKERS[marked % len(MARKERS)])

    def within(self, rests: Mapping[str, str]) -> Styles:
        """The same where the panel tells part of the rest, and this is what is left of it."""
        return replace(self, rests=rests)

    def group(self, optimizer: str) -> str:
        """The name an optimizer has in a legend."""
        return self.groups.get(optimizer, optimizer)

    def topology(self, cell: str) -> str:
        return self.topologies.get(cell, "")

    def rest(self, cell: str) -> str:
        """What a cell is beside its topology."""
        return self.rests.get(cell, cell)

    @property
    def coloured(self) -> str:
        """What colours tell apart: optimizers where there are several, else the rest, else topologies."""
        return next((kind for kind in ("optimizer", "rest", "topology") if len(self._slots[kind]) > 1), "optimizer")

    @property
    def marked(self) -> str:
        """What markers tell apart: the rest; where there is none, what has the colours, so that grey does too."""
        return "rest" if len(self._slots["rest"]) > 1 else self.coloured

    @cached_property
    def _slots(self) -> dict[str, dict[str, int]]:
        return {
            "optimizer": _places(map(self.group, self.optimizers), OPTIMIZERS, self.families),
            "topology": _places(map(self.topology, self.cells), TOPOLOGIES, self.families),
            "rest": _places(map(self.rest, self.cells), {}, {}),
        }


def _places(names: Iterable[str], known: Mapping[str, int], families: Mapping[str, str]) -> dict[str, int]:
    """A number for each name: that of its family where no other has it, else the lowest that is free."""
    distinct = list(dict.fromkeys(names))
    found: dict[str, int] = {}
    for name in distinct:
        number = known.get(families.get(name, name))
        if number is not None and number not in found.values():
            found[name] = number
    free = (number for number in itertools.count() if number not in set(found.values()))
    return {name: found[name] if name in found else next(free) for name in distinct}


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
