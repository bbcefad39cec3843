"""A topology as a picture, for ``gossipsim topology NAME --plot f.png``: one graph, or the rounds side by side.

Places say what a graph is: what looks the same from every node is on a circle, trees hang from their middle,
grids are grids; the rest is arranged by springs from a fixed start. The same graph gives the same file.
"""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import networkx as nx
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from gossipsim.report.style import PALETTE, add_font, settings

FORMATS = (".png", ".pdf", ".svg")
MOST_ROUNDS = 8
UNENDING_ROUNDS = 4  # shown of a topology that never repeats
_LABELLED = 40  # nodes, at most, that have their number on them
_ARROWS = 500  # arcs, at most, that have a head
_LINE = 20  # nodes of a path in one line
_SIDE = 4.2  # inches, of a square picture
_DPI = 144
_COLUMN, _CAPTION = 3.5, 0.13  # inches
_CHARACTERS = 60  # of a line of the caption
_SHADES = mpl.colormaps["viridis_r"]  # even in grey, and for colour-blind readers
_LUMINANCE = np.array([0.299, 0.587, 0.114])

Places = npt.NDArray[np.float64]


def check_format(path: Path) -> None:
    """Raises a ValueError unless the name of the file ends in a format that can be drawn."""
    if path.suffix.lower() not in FORMATS:
        found = f"{path.suffix!r} of {path.name}" if path.suffix else f"{path.name}, which has no ending"
        raise ValueError(f"--plot: the file must end in {', '.join(FORMATS)}, got {found}")


def draw_topology(path: Path, graphs: Sequence[Any], certificate: Mapping[str, Any]) -> None:
    """Draws the graphs (networkx, nodes 0..n-1) of one round each; of several, each with its number.

    Args:
        path: a file that ends in one of `FORMATS`.
        graphs: of a static topology one, else those of the rounds to be shown, in order.
        certificate: of the network, for the caption.

    Raises:
        ValueError: for another format, or where the file cannot be written.
    """
    check_format(path)
    text = caption(certificate, shown=len(graphs))
    with mpl.rc_context():
        mpl.rcdefaults()
        add_font()
        mpl.rcParams.update(settings([text]) | {"svg.hashsalt": "gossipsim"})
        figure = _figure(graphs, text)
        undated: dict[str, Any] = {".png": {}, ".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
        try:
            figure.savefig(path, dpi=_DPI, metadata={"Title": text.splitlines()[0], **undated[path.suffix.lower()]})
        except OSError as error:
            raise ValueError(f"--plot: cannot write {path}: {error.strerror}") from error


@dataclass(frozen=True)
class NodeColours:
    """A number for each node, what it is, and of which run."""

    label: str
    values: list[float]
    of: str


def graph_of(nodes: int, stored: Mapping[str, Any]) -> Any:
    """The graph of a summary: nodes 0..n-1, also those without an edge."""
    graph: Any = nx.DiGraph() if stored["directed"] else nx.Graph()
    graph.add_nodes_from(range(nodes))
    graph.add_edges_from(map(tuple, stored["edges"]))
    return graph


def picture(graph: Any, certificate: Mapping[str, Any], colours: NodeColours, *, name: str) -> Figure:
    """One graph of column width, its nodes in colours that a bar explains, its certificate below."""
    lines = textwrap.wrap(colours.of, _CHARACTERS) + caption({**certificate, "name": name}, shown=None).splitlines()
    at = places(graph)
    wide, tall = np.maximum(np.ptp(at, axis=0), 0.25 * np.ptp(at))
    plot = float(np.clip(_COLUMN * tall / wide, 1.0, 2.9))
    below = 0.62 + _CAPTION * len(lines)
    height = 0.05 + plot + below
    figure = Figure(figsize=(_COLUMN, height))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.02, below / height, 0.96, plot / height))
    axes.axis("off")
    low, high = min(colours.values), max(colours.values)
    scale = Normalize(low, high if high > low else low + (abs(low) or 1.0))
    _draw(axes, graph, at, 7.0, shades=np.asarray(_SHADES(scale(colours.values))))
    bar = figure.add_axes((0.2, (below - 0.17) / height, 0.6, 0.08 / height))
    if high > low:
        bar.imshow(np.linspace(0, 1, 256)[None, :], cmap=_SHADES, aspect="auto", extent=(0, 1, 0, 1))
    else:
        bar.set_facecolor(_SHADES(0.0))
    bar.set_yticks([])
    ticks = (0, 1) if high > low else (0.5,)
    bar.set_xticks(ticks, [f"{value:.3g}" for value in (low, high)[: len(ticks)]])
    bar.tick_params(length=2)
    bar.set_xlabel(colours.label, fontsize=7, labelpad=1)
    figure.text(0.5, 0.06 / height, "\n".join(lines), fontsize=7, color="#444444", ha="center", va="bottom")
    return figure


def caption(certificate: Mapping[str, Any], shown: int | None) -> str:
    """Name and size on one line, speed on the next, what is shown of many rounds (None: all) on a third."""
    edges = certificate["edges"]
    noun = ("arc" if certificate["directed"] else "edge") + ("" if edges == 1 else "s")
    expected = "expected_slem" in certificate
    slem = round(certificate["expected_slem" if expected else "slem"], 12)  # of the exact mean rounding leaves a little
    lines = [
        f"{certificate['name']} · n = {certificate['nodes']} · {edges} {noun}",
        f"{'expected ' if expected else ''}slem {slem:.4g} · spectral gap {1 - slem:.4g}",
    ]
    if certificate["time_varying"]:
        period = certificate["period"]
        rounds = "never repeats" if period is None else f"period of {period} rounds"
        if certificate.get("exact_after") is not None:
            rounds += f" · exact mean after {certificate['exact_after']}"
        lines.append(rounds if shown is None or shown == period else f"{rounds} · the first {shown} shown")
    return "\n".join(lines)


def _figure(graphs: Sequence[Any], text: str) -> Figure:
    if len(graphs) == 1:
        at = places(graphs[0])
        width, height = np.maximum(np.ptp(at, axis=0), 0.25 * np.ptp(at)) if len(at) > 1 else (1.0, 1.0)
        shape, size = (1, 1), _SIDE * np.sqrt([width / height, height / width])
    else:
        at = _circle(len(graphs[0]))  # rounds are compared: nodes stay where they are
        columns = len(graphs) if len(graphs) <= 4 else -(-len(graphs) // 2)
        shape = (-(-len(graphs) // columns), columns)
        size = 0.6 * _SIDE * np.array([columns, shape[0]])
    figure = Figure(figsize=(max(size[0], 3.0), size[1] + 0.7), layout="constrained")
    FigureCanvasAgg(figure)
    for number, axes in enumerate(figure.subplots(*shape, squeeze=False).ravel()):
        axes.axis("off")
        if number < len(graphs):
            _draw(axes, graphs[number], at, largest=7.0 if len(graphs) == 1 else 5.0)
        if 1 < len(graphs) > number:
            axes.set_title(f"round {number}", fontsize=8)
    figure.supxlabel(text, fontsize=8)
    return figure


def _draw(axes: Axes, graph: Any, at: Places, largest: float, shades: npt.NDArray[Any] | None = None) -> None:
    n = len(graph)
    radius = min(largest, 6.6 * largest / math.sqrt(n)) if n > _LABELLED else largest  # points
    draw_edges(axes, graph, at, radius)
    plain: dict[str, Any] = {"color": PALETTE[0], "linewidths": 0}
    look: dict[str, Any] = plain if shades is None else {"color": shades, "linewidths": 0.4, "edgecolors": "#444444"}
    axes.scatter(at[:, 0], at[:, 1], s=(2 * radius) ** 2, zorder=2, **look)
    if n <= _LABELLED:
        for node, (x, y) in enumerate(at):
            light = shades is not None and float(shades[node][:3] @ _LUMINANCE) > 0.55
            colour = "#1d2430" if light else "white"
            axes.text(x, y, str(node), color=colour, size=radius * 0.95, ha="center", va="center_baseline", zorder=3)
    axes.margins(0.08)
    axes.set_aspect("equal", adjustable="datalim")


def draw_edges(axes: Axes, graph: Any, at: Places, radius: float) -> None:
    """Lines; arrows where they go one way only; arcs around the nodes that a straight line would run through."""
    pairs = [(u, v) for u, v in graph.edges if not (graph.is_directed() and u > v and graph.has_edge(v, u))]
    faint = min(1.0, max(0.15, 150 / max(len(pairs), 1)))
    straight = []
    for u, v in pairs:
        one_way = graph.is_directed() and not graph.has_edge(v, u) and len(pairs) <= _ARROWS
        bent = len(pairs) <= _ARROWS and _runs_through_a_node(at, u, v)
        if not one_way and not bent:
            straight.append((at[u], at[v]))
            continue
        arrow = FancyArrowPatch(
            tuple(at[u]),
            tuple(at[v]),
            arrowstyle="-|>" if one_way else "-",
            connectionstyle=f"arc3,rad={0.25 if bent else 0}",
            mutation_scale=radius * 1.3,
            shrinkA=radius,
            shrinkB=radius,
            color="#777777",
            alpha=max(faint, 0.4),
            linewidth=0.8,
            zorder=1,
        )
        axes.add_patch(arrow)
    axes.add_collection(LineCollection(straight, colors="#777777", linewidths=0.8, alpha=faint, zorder=1))


def _runs_through_a_node(at: Places, u: int, v: int) -> bool:
    along, to_others = at[v] - at[u], at - at[u]
    length = float(np.hypot(*along)) or 1.0
    share = to_others @ along / length**2
    beside = np.abs(to_others @ np.array([-along[1], along[0]])) / length
    between = (share > 1e-6) & (share < 1 - 1e-6) & (beside < 1e-6 * max(length, 1.0))
    return bool(between.any())


def places(graph: Any) -> Places:
    """Where the nodes 0..n-1 of a graph go, (n, 2)."""
    n = len(graph)
    if n < 3 or _is_circulant(graph):
        return _circle(n)
    lattice = _lattice(graph)
    if lattice is not None:
        return lattice
    if not graph.is_directed() and nx.is_tree(graph):
        return _tree(graph)
    if not graph.is_directed() and n == 1 << (n.bit_length() - 1) and _same(graph, _hypercube_edges(n)):
        return _projection(n.bit_length() - 1)
    connected = nx.is_connected(graph.to_undirected())
    start = nx.kamada_kawai_layout(graph.to_undirected()) if connected and n <= 150 else None
    spread = nx.spring_layout(graph, pos=start, seed=0, iterations=30 if start else 200)
    return _lying(np.array([spread[node] for node in range(n)]))


def _lying(at: Places) -> Places:
    """Turned so that what is long lies down, node 0 to the left and below."""
    centred = at - at.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    turned = centred @ axes[:, ::-1]
    return np.asarray(turned * np.where(turned[0] > 0, -1, 1))


def _circle(n: int) -> Places:
    """Node 0 on top, the others clockwise."""
    angles = np.pi / 2 - 2 * np.pi * np.arange(n) / n
    return np.column_stack([np.cos(angles), np.sin(angles)]) if n > 1 else np.zeros((1, 2))


def _is_circulant(graph: Any) -> bool:
    """Whether it stays the same when every node moves on by one."""
    n = len(graph)
    return all(graph.has_edge((u + 1) % n, (v + 1) % n) for u, v in graph.edges)


def _projection(dimension: int) -> Places:
    """A hypercube: each bit of a node's number goes its own way, some a little further so that no two nodes meet."""
    bits = np.arange(1 << dimension)[:, None] >> np.arange(dimension) & 1
    angles = np.pi * (np.arange(dimension) + 0.5) / dimension
    lengths = 1 + (0.0 if dimension in (2, 4) else 0.2) * np.arange(dimension)
    return np.asarray(bits @ (lengths[:, None] * np.column_stack([np.cos(angles), np.sin(angles)])))


def _same(graph: Any, edges: set[tuple[int, int]]) -> bool:
    return {(min(edge), max(edge)) for edge in graph.edges} == edges


def _hypercube_edges(n: int) -> set[tuple[int, int]]:
    return {(i, i | 1 << k) for i in range(n) for k in range(n.bit_length() - 1) if not i >> k & 1}


def _lattice(graph: Any) -> Places | None:
    """Rows and columns, where it is a grid or a torus with nodes counted row by row."""
    n = len(graph)
    for rows in (rows for rows in range(2, math.isqrt(n) + 1) if n % rows == 0):
        columns = n // rows
        for wrap in (False, True):
            made = nx.grid_2d_graph(rows, columns, periodic=wrap)
            edges = {(r * columns + c, s * columns + d) for (r, c), (s, d) in made.edges}
            if not graph.is_directed() and _same(graph, {(min(edge), max(edge)) for edge in edges}):
                return np.array([(c, -r) for r in range(rows) for c in range(columns)], dtype=float)
    return None


def _tree(graph: Any) -> Places:
    """Paths from left to right, as spines with leaves; a hub in the middle; other trees from their middle down."""
    n, at = len(graph), np.zeros((len(graph), 2))
    hub = max(graph, key=graph.degree)
    if graph.degree[hub] == 2:
        width = n if n <= _LINE else math.ceil(math.sqrt(2 * n))
        for place, node in enumerate(_along(graph)):
            row, column = divmod(place, width)
            at[node] = (column if row % 2 == 0 else width - 1 - column), -row
        return at
    if graph.degree[hub] == n - 1:
        at[[node for node in graph if node != hub]] = _circle(n - 1)
        return at
    spine = graph.subgraph(node for node in graph if graph.degree[node] > 1)
    if max(dict(spine.degree).values()) <= 2:
        for x, node in enumerate(_along(spine)):
            at[node] = x, 0
            leaves = [leaf for leaf in graph[node] if graph.degree[leaf] == 1]
            for number, leaf in enumerate(leaves):
                at[leaf] = x + 0.5 * (number // 2) / max(1, len(leaves) // 2), (1, -1)[(x + number) % 2]
        return at
    return _levels(graph)


def _along(path: Any) -> list[int]:
    """The nodes of a path from one end to the other."""
    return list(nx.dfs_preorder_nodes(path, min(path, key=lambda node: (path.degree[node], node))))


def _levels(tree: Any) -> Places:
    """The middle on top, each parent above its children; leaves from left to right."""
    root = min(nx.center(tree))
    depth = nx.shortest_path_length(tree, root)
    children = nx.bfs_tree(tree, root)
    at = np.zeros((len(tree), 2))
    leaf = itertools.count()
    for node in nx.dfs_postorder_nodes(children, root):
        below = list(children.successors(node))
        at[node] = np.mean(at[below, 0]) if below else next(leaf), -float(depth[node])
    at[:, 1] *= max(1.0, at[:, 0].max() / (1.6 * max(depth.values())))
    return at
