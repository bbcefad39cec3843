"""Small drawings for the report, as inline SVG that takes the page's colours: topologies and class histograms."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from xml.sax.saxutils import escape

from markupsafe import Markup

MOST_EDGES = 3000
MOST_SQUARES = 2000  # of a histogram
MOST_TITLES = 400
_RADIUS = 92.0


def topology(nodes: int, edges: Sequence[Sequence[int]], *, directed: bool) -> Markup | None:
    """The graph with its nodes on a circle, node 0 on top; None where it is too dense to be seen.

    An edge that goes both ways is a line, one that goes one way has an arrowhead where it arrives.
    """
    if len(edges) > MOST_EDGES:
        return None
    places = [_place(node, nodes) for node in range(nodes)]
    both = {(u, v) for u, v in edges} if directed else set()
    one_way = [(u, v) for u, v in edges if directed and (v, u) not in both]
    lines = "".join(f"M{places[u][0]:.1f} {places[u][1]:.1f}L{places[v][0]:.1f} {places[v][1]:.1f}" for u, v in edges)
    dot = min(7.0, max(1.2, 120 / max(nodes, 1)))
    heads = "".join(_arrowhead(places[u], places[v], dot) for u, v in one_way)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{dot:.1f}"/>' for x, y in places)
    opacity = 0.75 if len(edges) < 100 else max(0.12, 60 / len(edges))
    return Markup(
        f'<svg class="topology" viewBox="-104 -104 208 208" role="img" aria-label="graph of {nodes} nodes">'
        f'<path class="edges" d="{lines}" opacity="{opacity:.2f}"/><path class="heads" d="{heads}"/>'
        f'<g class="nodes">{dots}</g></svg>'
    )


def _place(node: int, nodes: int) -> tuple[float, float]:
    if nodes == 1:
        return 0.0, 0.0
    angle = 2 * math.pi * node / nodes - math.pi / 2
    return _RADIUS * math.cos(angle), _RADIUS * math.sin(angle)


def _arrowhead(start: tuple[float, float], end: tuple[float, float], dot: float) -> str:
    length = math.dist(start, end) or 1.0
    ux, uy = (end[0] - start[0]) / length, (end[1] - start[1]) / length
    x, y = end[0] - dot * ux, end[1] - dot * uy
    back, side = 7.0, 3.0
    left = (x - back * ux - side * uy, y - back * uy + side * ux)
    right = (x - back * ux + side * uy, y - back * uy - side * ux)
    return f"M{x:.1f} {y:.1f}L{left[0]:.1f} {left[1]:.1f}L{right[0]:.1f} {right[1]:.1f}Z"


def histogram(counts: Sequence[Sequence[int]]) -> Markup:
    """Classes (rows) by nodes (columns); the darker, the more samples. :func:`hidden_nodes` are left out."""
    shown = counts[: len(counts) - hidden_nodes(counts)]
    classes = max((len(row) for row in shown), default=0)
    most = max((value for row in shown for value in row), default=0) or 1
    size = max(8, min(22, 420 // max(len(shown), 1)))
    left, top = 30, 4
    parts = [_text(left - 5, top + (number + 0.5) * 14, number, "end") for number in _labelled(classes, 20)] + [
        _text(left + (node + 0.5) * size, top + classes * 14 + 9, node, "middle")
        for node in _labelled(len(shown), 420 // 24)
    ]
    titles = len(shown) * classes <= MOST_TITLES
    for node, row in enumerate(shown):
        for number, value in enumerate(row):
            title = f"<title>node {node}, class {number}: {value}</title>" if titles else ""
            parts.append(
                f'<rect x="{left + node * size}" y="{top + number * 14}" width="{size - 1}" height="13"'
                f' fill-opacity="{0.05 + 0.95 * value / most:.2f}">{title}</rect>'
            )
    width, height = left + len(shown) * size + 8, top + classes * 14 + 18
    return Markup(
        f'<svg class="histogram" viewBox="0 0 {width} {height}" width="{width}" role="img"'
        f' aria-label="samples of each class at each node">{"".join(parts)}</svg>'
    )


def hidden_nodes(counts: Sequence[Sequence[int]]) -> int:
    """How many nodes, the last ones, do not fit into a histogram."""
    classes = max((len(row) for row in counts), default=1) or 1
    return max(0, len(counts) - max(1, MOST_SQUARES // classes))


def _labelled(count: int, most: int) -> Iterable[int]:
    return range(0, count, max(1, -(-count // most)))


def _text(x: float, y: float, text: object, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" dominant-baseline="middle">{escape(str(text))}</text>'
