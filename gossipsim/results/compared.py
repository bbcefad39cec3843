"""Two experiments side by side, cell by cell: what a change of code, version or configuration has done.

Cells are matched by their labels, runs by their seed. Differences are B minus A, paired by seed where seeds are shared.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gossipsim.results.cells import Cell, higher_is_better
from gossipsim.results.files import LABELS, read_json
from gossipsim.results.reading import Results
from gossipsim.results.statistics import Comparison, Summary, compare

Labels = tuple[str, ...]

_ABSENT = "(absent)"
_NOT_COMPARED = ("command",)  # of env.json: where an experiment was written is no difference


@dataclass(frozen=True)
class Pair:
    """One cell in both experiments.

    Attributes:
        change: of the metric, B minus A; None where one of them has no value.
        same_bits, shared: seeds with equal final parameters, of those with a result in both.
        lost: seeds that are complete in A, and in B have diverged, failed, or are otherwise not complete.
    """

    labels: Labels
    a: Summary | None
    b: Summary | None
    change: Comparison | None
    same_bits: int
    shared: int
    lost: list[int]

    def worse(self, metric: str, tolerance: float = 0.0) -> bool:
        """Whether seeds were lost, or all of the confidence interval is worse by more than `tolerance`."""
        if self.lost:
            return True
        if self.change is None or self.change.low is None or self.change.high is None:
            return False
        return self.change.high < -tolerance if higher_is_better(metric) else self.change.low > tolerance


@dataclass(frozen=True)
class Compared:
    """``configuration`` and ``environment``: dotted path -> what A and B have there."""

    metric: str
    pairs: list[Pair]
    only_a: list[Labels]
    only_b: list[Labels]
    configuration: dict[str, tuple[Any, Any]]
    environment: dict[str, tuple[Any, Any]]

    def as_json(self, tolerance: float = 0.0) -> dict[str, Any]:
        """Plain JSON values; NaN is written as null."""
        pairs = []
        for pair in self.pairs:
            found = asdict(pair) | {"labels": dict(zip(LABELS, pair.labels, strict=True))}
            pairs.append(found | {"worse": pair.worse(self.metric, tolerance)})
        whole = asdict(self) | {
            "pairs": pairs,
            "only_a": [dict(zip(LABELS, labels, strict=True)) for labels in self.only_a],
            "only_b": [dict(zip(LABELS, labels, strict=True)) for labels in self.only_b],
        }
        plain: dict[str, Any] = json.loads(json.dumps(whole), parse_constant=lambda _: None)
        return plain


def compare_experiments(a: Results, b: Results, metric: str) -> Compared:
    """Matches all cells of both."""
    of_a, of_b = _by_labels(a), _by_labels(b)
    return Compared(
        metric,
        pairs=[_pair(labels, of_a[labels], of_b[labels], metric) for labels in of_a if labels in of_b],
        only_a=[labels for labels in of_a if labels not in of_b],
        only_b=[labels for labels in of_b if labels not in of_a],
        configuration=_differences(a.directory / "config.json", b.directory / "config.json"),
        environment=_differences(a.directory / "env.json", b.directory / "env.json"),
    )


def _by_labels(results: Results) -> dict[Labels, Cell]:
    return {tuple(cell.labels[label] for label in LABELS): cell for cell in results.cells}


def _pair(labels: Labels, a: Cell, b: Cell, metric: str) -> Pair:
    hashes = [{run.seed: run.summary.get("params_sha256") for run in cell.runs} for cell in (a, b)]
    shared = [seed for seed, found in hashes[0].items() if found and hashes[1].get(seed)]
    same = sum(hashes[0][seed] == hashes[1][seed] for seed in shared)
    in_b = {run.seed: run.status for run in b.runs}
    lost = [run.seed for run in a.complete if in_b.get(run.seed, "complete") != "complete"]
    return Pair(labels, a.summary(metric), b.summary(metric), compare(b, a, metric), same, len(shared), lost)


def _differences(a: Path, b: Path) -> dict[str, tuple[Any, Any]]:
    """Where two JSON files differ."""
    of_a, of_b = (dict(_flat(read_json(path) if path.is_file() else {}, "")) for path in (a, b))
    paths = [path for path in dict.fromkeys([*of_a, *of_b]) if path.partition(".")[0] not in _NOT_COMPARED]
    both = {path: (of_a.get(path, _ABSENT), of_b.get(path, _ABSENT)) for path in paths}
    return {path: values for path, values in both.items() if values[0] != values[1]}


def _flat(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, value
