"""Small multiples: over which swept values the curves of a crowded figure are laid out in panels.

The values are those that have neither a colour nor, if that is enough, a dash: first one dimension of them, then two.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from gossipsim.report.parts import TOPOLOGY, Parts
from gossipsim.report.style import Styles
from gossipsim.results import Cell

CROWDED = 8  # curves in one panel
FULL = 12  # curves that a panel of several may hold
MOST_PANELS = 6

_Key = Callable[[Cell], str]


@dataclass(frozen=True)
class Facets:
    """The panels of a figure; ``of`` names that of a cell, ``paths`` are the swept paths that it tells."""

    styles: Styles
    paths: tuple[str, ...] = ()
    keys: tuple[_Key, ...] = field(default=(), repr=False)

    def of(self, cell: Cell) -> str:
        return ", ".join(key(cell) for key in self.keys)

    @property
    def tells_topology(self) -> bool:
        return TOPOLOGY in self.paths


def facets(
    cells: Sequence[Cell], styles: Styles, parts: Parts, *, without: Collection[str] = (), share: int = 1
) -> Facets:
    """One panel where the curves are few, else those of the dimensions that thin them out with the fewest panels.

    Args:
        without: swept paths that the figure shows in another way; so many cells in a curve as `share`.
    """
    plain = Facets(styles.within(parts.rest(without)) if without else styles)
    if len(cells) <= CROWDED * share:
        return plain
    choices = _dimensions(cells, plain.styles, parts, without)
    for most in (CROWDED, FULL, 2 * FULL):
        for count in (1, 2):
            for chosen in itertools.combinations(choices, count):
                keys = tuple(choices[path] for path in chosen)
                sizes = Counter(tuple(key(cell) for key in keys) for cell in cells)
                if 2 <= len(sizes) <= MOST_PANELS and max(sizes.values()) <= most * share:
                    return Facets(_left(styles, parts, (*without, *chosen)), chosen, keys)
    return plain


def _left(styles: Styles, parts: Parts, told: tuple[str, ...]) -> Styles:
    return styles.within(parts.rest([path for path in told if path != TOPOLOGY]))


def _dimensions(cells: Sequence[Cell], styles: Styles, parts: Parts, without: Collection[str]) -> dict[str, _Key]:
    """What may be laid out in panels, by path, what is best told so first."""

    def value(path: str) -> _Key:
        return lambda cell: parts.value(cell.labels["cell"], path)

    found: dict[str, _Key] = {path: value(path) for path in parts.paths() if path not in without}
    topology: dict[str, _Key] = {} if TOPOLOGY in without else {TOPOLOGY: lambda c: styles.topology(c.labels["cell"])}
    found = topology | found if styles.coloured == "rest" else found | topology
    return {path: key for path, key in found.items() if len({key(cell) for cell in cells}) > 1}
