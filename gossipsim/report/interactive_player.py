"""The gossip player of report.html: where each node is while a run trains, from the frames of ``nodes.jsonl``.

Distances to the mean go into the page as 16-bit levels of a logarithmic scale, a digit finer than a colour can show.
One run stands for each cell; what there is no room for is left out and counted.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from gossipsim.report import metrics as names
from gossipsim.report import svg
from gossipsim.report.interactive import rounded, script_json
from gossipsim.results import Results, Run

MOST_BYTES = 900_000
MOST_FRAMES = 120  # of a run
MOST_METRICS = 2  # of the nodes' own, beside their distance
_LEVELS = 65_535  # that number itself: the node is where the mean is
_DECADES = 12  # below the largest distance: what is further down is rounding
_UNITS = 1000  # half the width of the picture

_LOCAL = "local_"


@dataclass(frozen=True)
class Film:
    """A run that can be played; ``number`` is its position in the data."""

    number: int
    group: str
    title: str


@dataclass(frozen=True)
class Player:
    """``metrics`` are what nodes can be coloured by; ``recorded`` counts the cells that have frames."""

    films: list[Film]
    metrics: list[str]
    recorded: int
    data: Markup

    @property
    def groups(self) -> dict[str, list[Film]]:
        found: dict[str, list[Film]] = {}
        for film in self.films:
            found.setdefault(film.group, []).append(film)
        return found


def player(results: Results) -> Player | None:
    """Of each cell the first seed that has frames, as many as there is room for; None where there are none."""
    films: list[Film] = []
    data: list[dict[str, Any]] = []
    graphs: dict[str, int] = {}
    drawn: list[dict[str, Any]] = []
    metrics: list[str] = []
    room, runs = MOST_BYTES, _recorded(results)
    for run in runs:
        frames = run.frames()
        film = _film(run, _thinned(frames), metrics)
        room -= len(script_json(film=film))
        if room < 0:
            break
        nodes = len(frames[0]["distance"])
        graph = run.summary.get("graph") or {"edges": [], "directed": False}
        identity = f"{nodes} {graph}"
        if identity not in graphs:
            graphs[identity] = len(drawn)
            drawn.append(_graph(nodes, graph))
        data.append({"graph": graphs[identity], **film})
        labels = run.labels
        group = " · ".join((labels["task"], labels["model"], labels["optimizer"]))
        films.append(Film(len(films), group, " · ".join(filter(None, (labels["cell"], f"seed {run.seed}")))))
    if not films:
        return None
    return Player(films, [_title(name) for name in metrics], len(runs), script_json(graphs=drawn, films=data))


def _recorded(results: Results) -> list[Run]:
    """The first run of each cell that has a result and frames."""
    found = []
    for cell in results.selected_cells:
        runs = (run for run in cell.runs if run.status in ("complete", "diverged"))
        if run := next((run for run in runs if (run.directory / "nodes.jsonl").is_file()), None):
            found.append(run)
    return found


def _thinned(frames: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Evenly, first and last kept; evaluations of the nodes stay with the frame they come before."""
    stride = max(1, -(-(len(frames) - 1) // (MOST_FRAMES - 1)))
    kept, waiting = [], dict[str, Any]()
    for number, frame in enumerate(frames):
        waiting |= {name: value for name, value in frame.items() if name.startswith(_LOCAL)}
        if number % stride == 0 or number == len(frames) - 1:
            kept.append({**frame, **waiting})
            waiting = {}
    return kept


def _film(run: Run, frames: Sequence[Mapping[str, Any]], metrics: list[str]) -> dict[str, Any]:
    """The numbers of a run; adds metrics that are new."""
    distances = np.array([[_number(value) for value in frame["distance"]] for frame in frames])
    low, high, levels = quantised(distances)
    found = sorted({name for frame in frames for name in frame if name.startswith(_LOCAL)}, key=_importance)
    metrics += [name for name in found[:MOST_METRICS] if name not in metrics]
    local = {
        metrics.index(name): {
            number: rounded((_number(value) for value in frame[name]), digits=4)
            for number, frame in enumerate(frames)
            if name in frame
        }
        for name in found[:MOST_METRICS]
    }
    return {
        "steps": [frame["step"] for frame in frames],
        "rounds": [frame["round"] for frame in frames],
        "low": low,
        "high": high,
        "levels": base64.b64encode(levels.astype("<u2").tobytes()).decode(),
        "consensus": rounded(np.square(distances).mean(axis=1)),
        "local": local,
        "sizes": run.summary.get("shard_sizes") or [],
    }


def quantised(distances: NDArray[np.float64]) -> tuple[float, float, NDArray[np.int64]]:
    """The smallest and largest distance of the scale, and each distance as a level between them.

    The scale begins with what is reached after the first frame: nodes that start together are apart by rounding only.
    A node at the mean, or lost to infinity, has the level 65,535.
    """
    known = np.where(np.isfinite(distances) & (distances > 0), distances, np.nan)
    scale = known[1:][~np.isnan(known[1:])]
    if not scale.size:
        return 1.0, 1.0, np.full(distances.shape, _LEVELS)
    high = float(scale.max())
    low = max(float(scale.min()), high * 10.0**-_DECADES)
    span = math.log(high / low) or 1.0
    levels = np.clip(np.log(known / low) / span, 0, 1) * (_LEVELS - 1)
    return low, high, np.where(np.isnan(levels), _LEVELS, np.round(levels)).astype(np.int64)


def _graph(nodes: int, graph: Mapping[str, Any]) -> dict[str, Any]:
    edges = graph["edges"]
    at = _UNITS * svg.arrangement(nodes, edges, directed=graph["directed"])
    path = svg.links(at, edges, digits=0) if len(edges) <= svg.MOST_EDGES else ""
    return {"at": np.round(at).astype(int).tolist(), "path": path, "edges": len(edges)}


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _importance(name: str) -> tuple[int, str]:
    metric = name.removeprefix(_LOCAL)
    return names.PRIMARY.index(metric) if metric in names.PRIMARY else len(names.PRIMARY), name


def _title(name: str) -> str:
    return names.label(name.removeprefix(_LOCAL))
