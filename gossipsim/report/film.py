"""What an animation of a run shows, and the stage it is shown on: a graph of coloured nodes beside two curves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gossipsim.report import metrics as names
from gossipsim.report.axes import scale_horizontally, scale_vertically
from gossipsim.report.curves import Curve
from gossipsim.report.style import Styles
from gossipsim.report.topology import draw_edges, graph_of, places
from gossipsim.results import Results, Run, higher_is_better, is_finite

DISTANCE = "distance"

_SIZE, _DPI = (8.8, 4.5), 100
_GRAPH = (0.02, 0.155, 0.45, 0.665)
_BAR = (0.12, 0.105, 0.25, 0.022)
_UPPER, _LOWER = (0.585, 0.53, 0.385, 0.32), (0.585, 0.125, 0.385, 0.32)
_LARGEST, _SMALLEST = 12.0, 2.0  # radius of a node, in points
_LABELLED = 40
_DECADES = 12
_SHADES = mpl.colormaps["viridis_r"]
_UNKNOWN = (0.85, 0.85, 0.85, 1.0)
_LUMINANCE = np.array([0.299, 0.587, 0.114])
_INK, _MUTED, _FAINT = "#1d2430", "#5b6472", "#d5d9e0"
_RIM = "#3a4250"

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Film:
    """The numbers of an animation; of each frame its round, and of each node its `value` and its `distances`.

    Attributes:
        curve: (x, y), the metric at its evaluations, against rounds.
    """

    title: str
    subtitle: str
    graph: Any
    rounds: Numbers
    value: str
    values: Numbers  # (frames, nodes), NaN where unknown
    distances: Numbers  # (frames, nodes)
    metric: str
    curve: tuple[Numbers, Numbers]
    colour: str


@dataclass(frozen=True)
class Panel:
    """`show(k)` moves the artists to frame k."""

    moving: list[Artist]
    show: Callable[[int], None]


def film(results: Results, run: Run, metric: str | None, value: str, most: int) -> Film:
    """
    Raises:
        ValueError: for a run without frames, or a metric or value that it does not have.
    """
    frames = run.frames()
    if len(frames) < 2:
        raise ValueError(
            f"{run.directory}: no frames in nodes.jsonl (status {run.status}); runs of 2 to 256 nodes leave them, "
            'others with `trainer.params.log: {"nodes": 10}`'
        )
    metric = metric or names.primary(run.last) or "train_loss"
    curve = [(r["round"], r[metric]) for r in run.history if is_finite(r.get(metric))]
    if not curve:
        raise ValueError(f"--metric {metric}: not recorded; known here are {', '.join(_recorded(run))}")
    known = list(dict.fromkeys(name for frame in frames for name in frame if name not in ("step", "round")))
    if value not in known:
        raise ValueError(f"--value {value}: not recorded; known here are {', '.join(known)}")
    shown = sorted({round(k) for k in np.linspace(0, len(frames) - 1, min(most, len(frames)))})
    labels = run.labels
    styles = Styles.of(results)
    return Film(
        title=" · ".join(filter(None, (labels["task"], labels["model"], labels["optimizer"]))),
        subtitle=" · ".join(filter(None, (labels["cell"], f"seed {run.seed}"))),
        graph=graph_of(len(frames[0][DISTANCE]), run.summary["graph"]),
        rounds=np.array([float(frames[k]["round"]) for k in shown]),
        value=value,
        values=_carried(frames, value)[shown],
        distances=_carried(frames, DISTANCE)[shown],
        metric=metric,
        curve=(np.array([x for x, _ in curve], dtype=float), np.array([y for _, y in curve], dtype=float)),
        colour=styles(labels["optimizer"], labels["cell"]).colour,
    )


def _recorded(run: Run) -> list[str]:
    return [name for name in run.last if name not in ("epoch", "step", "round")]


def _carried(frames: Sequence[Mapping[str, Any]], name: str) -> Numbers:
    """(frames, nodes); a frame without the value has that of the last one with it."""
    rows: list[Numbers] = []
    for frame in frames:
        if name in frame or not rows:
            nodes = len(frame[DISTANCE])
            found = frame.get(name, [None] * nodes)
            rows.append(np.array([np.nan if v is None else float(v) for v in found]))
        else:
            rows.append(rows[-1])
    return np.array(rows)


def stage(shown: Film) -> tuple[Figure, list[Panel]]:
    """The figure with all that stands still, and what moves on it."""
    figure = Figure(figsize=_SIZE, dpi=_DPI, facecolor="white")
    figure.text(0.03, 0.945, shown.title, size=12, color=_INK, va="center")
    figure.text(0.03, 0.895, shown.subtitle, size=9, color=_MUTED, va="center")
    colours = _Colours.of(shown)
    return figure, [_graph(figure, shown, colours), _curve(figure, shown), _nodes(figure, shown, colours)]


def palette(colour: str) -> list[tuple[int, int, int]]:
    """At most 256 colours that do for all frames: the nodes' shades, and white growing into ink and into the curve."""
    shades = _SHADES(np.linspace(0, 1, 128))[:, :3]
    fades = [np.linspace(1, 0, steps)[:, None] for steps in (32, 24)]
    inks = [np.array(mpl.colors.to_rgb(name)) for name in (_INK, colour)]
    mixed = [fade + (1 - fade) * ink for fade, ink in zip(fades, inks, strict=True)]
    return [(int(r), int(g), int(b)) for r, g, b in np.round(255 * np.concatenate([shades, *mixed]))]


@dataclass(frozen=True)
class _Colours:
    """The scale of what nodes are coloured by; light is near the mean, or good."""

    scale: Normalize
    map: Any
    label: str

    @classmethod
    def of(cls, shown: Film) -> _Colours:
        values = shown.values
        if shown.value == DISTANCE:
            low, high = _span(values)
            return cls(LogNorm(low, high, clip=True), _SHADES, "distance to the mean")
        known = values[np.isfinite(values)]
        low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
        good_is_high = higher_is_better(shown.value)
        label = names.label(shown.value.removeprefix("local_")) + " of the node's own model"
        scale = Normalize(low, high if high > low else low + (abs(low) or 1.0), clip=True)
        return cls(scale, _SHADES.reversed() if good_is_high else _SHADES, label)

    def __call__(self, values: Numbers) -> NDArray[Any]:
        """(n,) -> (n, 4)."""
        positive = np.where(values <= 0, self.scale.vmin or 0.0, values) if isinstance(self.scale, LogNorm) else values
        shades = np.array(self.map(self.scale(np.nan_to_num(positive, nan=0.0, posinf=np.inf))))
        shades[np.isnan(values)] = _UNKNOWN
        return shades


def _span(distances: Numbers) -> tuple[float, float]:
    """Limits of a log scale, of what comes after the first frame: nodes that start together are apart by rounding."""
    later = distances[1:]
    known = later[np.isfinite(later) & (later > 0)]
    if not known.size:
        return 0.1, 1.0
    high = float(known.max())
    low = max(float(known.min()), high * 10.0**-_DECADES)
    return (low, high) if high > 1.01 * low else (low / 3, high * 3)


def _graph(figure: Figure, shown: Film, colours: _Colours) -> Panel:
    axes = figure.add_axes(_GRAPH)
    axes.axis("off")
    at = places(shown.graph)
    n = len(at)
    axes.update_datalim(at)
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.09)
    axes.autoscale_view()
    radius = _radius(axes, at)
    draw_edges(axes, shown.graph, at, radius)
    dots = axes.scatter(at[:, 0], at[:, 1], s=(2 * radius) ** 2, linewidths=0.8, edgecolors=_RIM, zorder=2)
    size = radius * 0.85
    texts = [
        axes.text(x, y, str(node), size=size, ha="center", va="center_baseline", zorder=3)
        for node, (x, y) in enumerate(at if n <= _LABELLED else [])
    ]
    number = figure.text(0.245, 0.835, "", size=11, color=_INK, ha="center", va="center")
    _bar(figure, colours)

    def show(frame: int) -> None:
        shades = colours(shown.values[frame])
        dots.set_facecolor(list(map(tuple, shades)))
        for text, light in zip(texts, shades[:, :3] @ _LUMINANCE > 0.55, strict=False):
            text.set_color(_INK if light else "white")
        number.set_text(f"round {shown.rounds[frame]:g}")

    return Panel([dots, *texts, number], show)


def _radius(axes: Axes, at: Numbers) -> float:
    """Of a node, in points: nodes nearly touch at the most."""
    if len(at) < 2:
        return _LARGEST
    pixels = axes.transData.transform(at)
    gaps = np.linalg.norm(pixels[:, None] - pixels[None], axis=2) + np.diag(np.full(len(at), np.inf))
    return float(np.clip(0.3 * gaps.min() * 72 / _DPI, _SMALLEST, _LARGEST))


def _bar(figure: Figure, colours: _Colours) -> None:
    axes = figure.add_axes(_BAR)
    mappable = mpl.cm.ScalarMappable(norm=colours.scale, cmap=colours.map)
    bar = figure.colorbar(mappable, cax=axes, orientation="horizontal")
    bar.outline.set_visible(False)
    bar.minorticks_off()
    ends = (colours.scale.vmin or 0.0, colours.scale.vmax or 1.0)
    bar.set_ticks(list(ends), labels=[f"{end:.2g}" for end in ends])
    axes.tick_params(length=2, labelsize=7, colors=_MUTED)
    axes.set_xlabel(colours.label, size=8, color=_MUTED, labelpad=2)


def _curve(figure: Figure, shown: Film) -> Panel:
    """The metric of the mean model."""
    x, y = shown.curve
    axes = figure.add_axes(_UPPER)
    line = Curve("", "", x, y, None)
    scale_vertically(axes, [line], shown.metric, bands=False)
    _across(axes, shown)
    axes.tick_params(labelbottom=False)
    axes.set_xlabel("")
    axes.plot(x, y, color=_FAINT, linewidth=1.6)
    (past,) = axes.plot([], [], color=shown.colour, linewidth=1.8)
    (dot,) = axes.plot([], [], "o", color=shown.colour, markersize=7, markeredgecolor="white", markeredgewidth=1.2)
    log = axes.get_yscale() == "log"

    def at(place: float) -> float:
        """On the line that is drawn, between two evaluations."""
        if log and (y > 0).all():
            return float(np.exp(np.interp(place, x, np.log(y))))
        return float(np.interp(place, x, y))

    def show(frame: int) -> None:
        now = shown.rounds[frame]
        before = x <= now
        past.set_data([*x[before], now], [*y[before], at(now)])
        dot.set_data([now], [at(now)])

    return Panel([past, dot], show)


def _nodes(figure: Figure, shown: Film, colours: _Colours) -> Panel:
    """How far each node is from the mean."""
    axes = figure.add_axes(_LOWER)
    low, high = _span(shown.distances)
    heights = np.clip(np.nan_to_num(shown.distances, nan=high), low, high)
    scale_vertically(
        axes, [Curve("", "", shown.rounds, column, None) for column in heights.T], "consensus", bands=False
    )
    _across(axes, shown)
    axes.set_ylabel("distance to the mean")
    axes.set_xlabel("round")
    thin = {"linewidths": 0.7 if heights.shape[1] <= _LABELLED else 0.4}
    lines = [np.column_stack([shown.rounds, column]) for column in heights.T]
    axes.add_collection(LineCollection(lines, colors=_FAINT, **thin), autolim=False)
    past = LineCollection([], colors="#8a93a3", alpha=0.8, **thin)
    axes.add_collection(past, autolim=False)
    area = 42.0 if heights.shape[1] <= _LABELLED else 14.0
    dots = axes.scatter([shown.rounds[0]] * heights.shape[1], heights[0], s=area, zorder=3)
    dots.set(linewidths=0.7, edgecolors=_RIM, clip_on=False)

    def show(frame: int) -> None:
        past.set_segments([line[: frame + 1] for line in lines])
        dots.set_offsets(np.column_stack([np.full(heights.shape[1], shown.rounds[frame]), heights[frame]]))
        dots.set_facecolor(list(map(tuple, colours(shown.values[frame]))))

    return Panel([past, dots], show)


def _across(axes: Axes, shown: Film) -> None:
    """The rounds of both curves, the same ticks."""
    ends = np.array([0.0, max(shown.rounds[-1], shown.curve[0][-1])])
    scale_horizontally(axes, [Curve("", "", ends, ends, None)], "round")
    axes.grid(visible=True)
    axes.tick_params(colors=_MUTED)
    axes.spines[["left", "bottom"]].set_color("#aab1bd")
    axes.yaxis.label.set_color(_INK)
