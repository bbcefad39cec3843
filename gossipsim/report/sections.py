"""What the sections of report.html beside the curves show: the setting, networks, data, and what went wrong."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from gossipsim.report import metrics as names
from gossipsim.report import svg
from gossipsim.report.interactive import dimensions, value_text
from gossipsim.report.partition import Placement
from gossipsim.report.provenance import plural
from gossipsim.report.ranking import Entry, Row
from gossipsim.results import Cell, Results, Run, Selection, reached, summarize, target_columns

MOST_DRAWINGS = 16
MOST_FAILURES = 100
MOST_VALUES = 6  # of one kind, in the summary
LONGEST_TRACEBACK = 5000
WIDEST_MAP = 20  # classes, in a heat map of the page's own
MOST_MAPPED = 640  # nodes x classes

_HOLDS = ("connected", "doubly_stochastic", "symmetric")
_SPEEDS = ("spectral_gap", "slem", "expected_slem")
_SPECS = {"strategy": "strategy", "topology": "network.topology", "partition": "partition"}


@dataclass(frozen=True)
class Tile:
    """One line of what was run: ``count`` values of a kind, the first of them in words."""

    title: str
    values: list[str]
    count: int


@dataclass(frozen=True)
class Network:
    """One topology with its mixing matrix, and the cells that used it.

    ``holds`` are properties that hold or not, ``speed`` how fast it mixes, ``rounds`` the slem of single rounds.
    """

    title: str
    cells: list[str]
    holds: dict[str, bool]
    gap: float
    speed: dict[str, str]
    facts: dict[str, str]
    rounds: list[float]
    drawing: Markup | None


@dataclass(frozen=True)
class HeatMap:
    """Samples of each class at each node; ``shades`` are from 0 to 1, ``distances`` the total variation."""

    counts: list[list[int]]
    shades: list[list[float]]
    sizes: list[int]
    distances: list[float]
    largest: int


@dataclass(frozen=True)
class Costs:
    """What reaching each target took, in the columns of results.csv that have a value."""

    columns: list[str]
    rows: list[Row]


@dataclass(frozen=True)
class Failure:
    """A run with an error."""

    status: str
    what: str
    message: str
    where: str
    traceback: str


def tiles(results: Results) -> list[Tile]:
    """What was run, for the top of the page: what was crossed, what was swept, what all runs share."""
    runs = results.runs
    kinds: dict[str, list[str]] = {
        "tasks": list(dict.fromkeys(run.labels["task"] for run in runs)),
        "models": list(dict.fromkeys(run.labels["model"] for run in runs)),
        "optimizers": list(dict.fromkeys((run.tuned or run.labels)["optimizer"] for run in runs)),
    }
    for path, title in dimensions(results.swept).items():
        kinds[title] = list(dict.fromkeys(value_text(run.swept[path]) for run in runs if path in run.swept))
    for title, path in _SPECS.items():
        if not any(swept == path or swept.startswith(f"{path}.") for swept in results.swept):
            kinds[title] = _distinct(runs, path)
    if "network.nodes" not in results.swept:
        kinds["nodes"] = _distinct(runs, "network.nodes")
    kinds["seeds"] = [str(seed) for seed in dict.fromkeys(run.seed for run in runs)]
    kinds["training"] = _training(runs)
    return [Tile(title, values[:MOST_VALUES], len(values)) for title, values in kinds.items() if values]


def _distinct(runs: Sequence[Run], path: str) -> list[str]:
    found = (_at(run.spec, path) for run in runs)
    return list(dict.fromkeys(value_text(value) for value in found if value is not None))


def _training(runs: Sequence[Run]) -> list[str]:
    words = []
    for run in runs:
        params = _at(run.spec, "trainer.params") or {}
        length = "steps" if params.get("steps") is not None else "epochs"
        shown = (("{} " + length, params.get(length)), ("batch size {}", params.get("batch_size")))
        words.append(", ".join(text.format(value) for text, value in shown if value is not None))
    return [text for text in dict.fromkeys(words) if text]


def _at(values: Any, path: str) -> Any:
    for part in path.split("."):
        if not isinstance(values, Mapping):
            return None
        values = values.get(part)
    return values


def networks(runs: Sequence[Run]) -> list[Network]:
    """One entry per distinct network, in the order of the runs."""
    users: dict[str, dict[str, None]] = {}
    for run in runs:
        if certificate := run.summary.get("network"):
            identity = json.dumps([certificate, run.summary.get("graph")])
            users.setdefault(identity, {})[run.labels["cell"]] = None
    found = []
    for number, (identity, cells) in enumerate(users.items()):
        certificate, graph = json.loads(identity)
        found.append(_network(certificate, graph, list(cells), drawn=number < MOST_DRAWINGS))
    return found


def _network(certificate: dict[str, Any], graph: Any, cells: list[str], *, drawn: bool) -> Network:
    drawing = None
    if graph and drawn:
        drawing = svg.topology(int(certificate["nodes"]), graph["edges"], directed=graph["directed"])
    shown = {*_HOLDS, *_SPEEDS, "name", "slem_rounds"}
    return Network(
        title=value_text(str(certificate["name"])),
        cells=cells,
        holds={_spaced(key): bool(certificate[key]) for key in _HOLDS if key in certificate},
        gap=min(1.0, max(0.0, float(certificate.get("spectral_gap") or 0.0))),
        speed={_spaced(key): plain(certificate[key]) for key in _SPEEDS if key in certificate},
        facts={_spaced(key): plain(value) for key, value in certificate.items() if key not in shown},
        rounds=[float(value) for value in certificate.get("slem_rounds") or ()],
        drawing=drawing,
    )


def shards_title(placement: Placement, results: Results) -> str:
    """What the cells with this partition have in common, in place of a list of all of them."""
    swept = [run.swept for run in results.runs if run.labels["cell"] in placement.cells]
    common = [
        f"{title}={value_text(swept[0][path])}"
        for path, title in dimensions(results.swept).items()
        if swept and all(path in one and one[path] == swept[0][path] for one in swept)
    ]
    return f"{placement.task}: {', '.join(common)} (seed {placement.seed})" if common else placement.title


def heat_map(placement: Placement) -> HeatMap | None:
    """For the page to draw in its own colours; None where the picture does better."""
    if not placement.counts or not placement.distances:
        return None
    nodes, classes = len(placement.counts), len(placement.counts[0])
    if classes > WIDEST_MAP or nodes * classes > MOST_MAPPED:
        return None
    largest = max(map(max, placement.counts))
    shades = [[round(count / max(largest, 1), 2) for count in row] for row in placement.counts]
    return HeatMap(placement.counts, shades, placement.sizes, placement.distances, largest)


def costs(cells: Sequence[Cell], targets: Mapping[str, Sequence[float]]) -> Costs | None:
    """A row per cell, in the order given; None where no target is reached, or none is set."""
    taken = [[reached(run, targets) for run in cell.complete] for cell in cells]
    columns = [name for name in target_columns(targets) if any(name in one for runs in taken for one in runs)]
    if not columns:
        return None
    rows = [
        Row("", cell.labels["optimizer"], cell.labels["cell"], "", [_cost(runs, name) for name in columns])
        for cell, runs in zip(cells, taken, strict=True)
    ]
    return Costs([_spaced(name) for name in columns], rows)


def _cost(runs: Sequence[Mapping[str, float]], column: str) -> Entry:
    found = summarize(run[column] for run in runs if column in run)
    if found is None:
        return Entry("", None)
    text = names.with_spread(found.mean, found.std, "bytes_sent" if column.startswith("bytes_") else "")
    return Entry(text if found.n == len(runs) else f"{text} ({found.n} of {len(runs)})", found.mean)


def budget(selections: Sequence[Selection]) -> str:
    """What each tuned optimizer was given.

    >>> budget([])
    ''
    """
    spent = dict.fromkeys((len(one.candidates), one.candidates[0].seeds) for one in selections)
    return "; ".join(
        f"{plural(candidates, 'candidate')} with {plural(seeds, 'seed')} each" for candidates, seeds in spent
    )


def failures(runs: Sequence[Run]) -> list[Failure]:
    found = [
        Failure(
            status=run.status,
            what=" · ".join([*filter(None, run.labels.values()), f"seed {run.seed}"]),
            message=str(run.error.get("message", "")),
            where=", ".join(f"{key} {run.error[key]}" for key in ("node", "rank") if run.error.get(key) is not None),
            traceback=str(run.error.get("traceback") or "")[-LONGEST_TRACEBACK:],
        )
        for run in runs
        if run.error
    ]
    return found[:MOST_FAILURES]


def warnings(runs: Sequence[Run]) -> list[tuple[str, int]]:
    """Each distinct warning and the number of runs that gave it."""
    return Counter(text for run in runs for text in dict.fromkeys(run.summary.get("warnings", ()))).most_common()


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested values as one mapping of dotted paths."""
    found: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = plain(value)
    return found


def plain(value: Any) -> str:
    """
    >>> plain(True), plain(0.123456789), plain(None), plain([1, 2]), plain("a.B")
    ('yes', '0.123457', '–', '[1, 2]', 'a.B')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{round(value, 12):.6g}"
    if value is None:
        return "–"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _spaced(key: str) -> str:
    return key.replace("_", " ")
