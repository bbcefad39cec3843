"""Topologies and samples of curves for the report, as inline SVG that takes the page's colours."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import networkx as nx
import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from gossipsim.report.style import Style
from gossipsim.report.topology import places

MOST_EDGES = 3000
_RADIUS = 92.0
_ARRANGED = 64  # nodes; springs take longer for more, and show less
_BEND = 0.3  # of an edge that would run through a node, as part of its length

Places = NDArray[np.float64]


def topology(nodes: int, edges: Sequence[Sequence[int]], *, directed: bool) -> Markup | None:
    """The graph, its nodes where the plots have them; None where it is too dense to be seen.

    An edge that goes both ways is a line, one that goes one way has an arrowhead where it arrives.
    """
    if len(edges) > MOST_EDGES:
        return None
    at = _RADIUS * arrangement(nodes, edges, directed=directed)
    dot = min(7.0, max(1.6, 120 / max(nodes, 1)))
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{dot:.1f}"/>' for x, y in at)
    arrows = _one_way(at, edges) if directed else ()
    heads = "".join(_arrowhead(at[u] if bent is None else bent, at[v], dot) for u, v, bent in arrows)
    opacity = 0.75 if len(edges) < 100 else max(0.12, 60 / len(edges))
    return Markup(
        f'<svg class="topology" viewBox="-104 -104 208 208" role="img" aria-label="graph of {nodes} nodes">'
        f'<path class="edges" d="{links(at, edges)}" opacity="{opacity:.2f}"/>'
        f'<path class="heads" d="{heads}"/><g class="nodes">{dots}</g></svg>'
    )


def arrangement(nodes: int, edges: Sequence[Sequence[int]], *, directed: bool) -> Places:
    """Where nodes go, in a square from -1 to 1, y downward; on a circle where they are many."""
    graph: Any = nx.DiGraph() if directed else nx.Graph()
    graph.add_nodes_from(range(nodes))
    if nodes <= _ARRANGED:
        graph.add_edges_from((u, v) for u, v in edges if u != v)
    else:
        graph.add_edges_from((node, (node + 1) % nodes) for node in range(nodes))
    at = np.asarray(places(graph)) * (1, -1)
    at = at - (at.max(axis=0) + at.min(axis=0)) / 2
    return np.asarray(at / (np.abs(at).max() or 1.0))


def links(at: Places, edges: Sequence[Sequence[int]], digits: int = 1) -> str:
    """The edges as one path, each pair of nodes once; around a node that a straight line would run through."""
    path = []
    for u, v in dict.fromkeys((min(edge), max(edge)) for edge in edges):
        (x0, y0), (x1, y1), bent = at[u], at[v], _around(at, u, v)
        way = "L" if bent is None else f"Q{bent[0]:.{digits}f} {bent[1]:.{digits}f} "
        path.append(f"M{x0:.{digits}f} {y0:.{digits}f}{way}{x1:.{digits}f} {y1:.{digits}f}")
    return "".join(path)


def _one_way(at: Places, edges: Sequence[Sequence[int]]) -> Iterator[tuple[int, int, Places | None]]:
    known = {(u, v) for u, v in edges}
    return ((u, v, _around(at, u, v)) for u, v in edges if (v, u) not in known)


def _around(at: Places, u: int, v: int) -> Places | None:
    """Where to bend the edge to; None where the straight line meets no other node."""
    u, v = min(u, v), max(u, v)
    along, others = at[v] - at[u], at - at[u]
    length = float(np.hypot(*along)) or 1.0
    share = others @ along / length**2
    aside = np.array([-along[1], along[0]])
    between = (share > 1e-6) & (share < 1 - 1e-6) & (np.abs(others @ aside) < 1e-6 * length**2)
    return (at[u] + at[v]) / 2 + _BEND * aside if between.any() else None


def _arrowhead(start: Places, end: Places, dot: float) -> str:
    ux, uy = (end - start) / (float(np.hypot(*(end - start))) or 1.0)
    x, y = end[0] - dot * ux, end[1] - dot * uy
    back, side = 7.0, 3.0
    left = (x - back * ux - side * uy, y - back * uy + side * ux)
    right = (x - back * ux + side * uy, y - back * uy - side * ux)
    return f"M{x:.1f} {y:.1f}L{left[0]:.1f} {left[1]:.1f}L{right[0]:.1f} {right[1]:.1f}Z"


def sample(style: Style) -> Markup:
    """A piece of a curve for a legend: its colour, its dashes, its marker."""
    dashes = _DASHES.get(style.plotly_dash, style.plotly_dash.replace("px", ""))
    dashed = f' stroke-dasharray="{escape(dashes)}"' if dashes else ""
    return Markup(
        f'<svg class="sample" viewBox="0 0 36 12" style="--curve:{ink(style.colour)}" aria-hidden="true">'
        f'<path class="line" d="M0 6H36"{dashed}/><path class="marker" d="{_marker(style.plotly_symbol)}"/></svg>'
    )


def ink(colour: str) -> str:
    """The colour of a curve on a page; black would be invisible on a dark one.

    >>> ink("#0072B2"), ink("#000000")
    ('#0072B2', 'var(--text)')
    """
    return "var(--text)" if colour.lower() in ("#000000", "#000", "black") else colour


def _marker(symbol: str) -> str:
    """The outline of a marker of plotly's, around (18, 6); what is not known is a circle."""
    points = _MARKERS.get(symbol.removesuffix("-open"))
    if points is None:
        return "M18 2.6a3.4 3.4 0 1 1-.01 0Z"
    return "M" + "L".join(f"{18 + x:g} {6 + y:g}" for x, y in points) + "Z"


def _star(points: int, inner: float) -> list[tuple[float, float]]:
    """A star, or with `inner` 1 a polygon of twice as many corners."""
    corners = [(4.2 * (inner if k % 2 else 1), math.pi * k / points - math.pi / 2) for k in range(2 * points)]
    return [(round(r * math.cos(angle), 2), round(r * math.sin(angle), 2)) for r, angle in corners]


_DASHES = {"solid": "", "dot": "2 3", "dash": "8 4", "longdash": "14 5", "dashdot": "9 4 2 4"}
_DASHES["longdashdot"] = "14 5 2 5"
_PLUS = [(-1.3, -4), (1.3, -4), (1.3, -1.3), (4, -1.3), (4, 1.3), (1.3, 1.3)]
_PLUS += [(-x, -y) for x, y in _PLUS]
_MARKERS: dict[str, list[tuple[float, float]]] = {
    "square": [(-3, -3), (3, -3), (3, 3), (-3, 3)],
    "diamond": [(0, -4.2), (4.2, 0), (0, 4.2), (-4.2, 0)],
    "triangle-up": [(0, -4), (4, 3.2), (-4, 3.2)],
    "triangle-down": [(0, 4), (4, -3.2), (-4, -3.2)],
    "triangle-left": [(-4, 0), (3.2, -4), (3.2, 4)],
    "triangle-right": [(4, 0), (-3.2, -4), (-3.2, 4)],
    "cross": _PLUS,
    "x": [(0.7071 * (x - y), 0.7071 * (x + y)) for x, y in _PLUS],
    "star": _star(5, 0.4),
    "pentagon": _star(5, 1.0)[::2],
    "hexagon": _star(3, 1.0),
}
