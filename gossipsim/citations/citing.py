"""The entries that the parts of runs stand for: strategies, optimizers, models, tasks, ..., software."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

Spec = Mapping[str, Any]

_SOFTWARE = {"gossipsim": "gossipsim", "torch": "paszke2019pytorch", "networkx": "hagberg2008networkx"}
_NETWORK = ("topology", "weights", "links", "compression")
_PARTS = ("strategy", "optimizer", "model", "task", "partition", *_NETWORK)


@dataclass
class Citation:
    """One entry and what it is cited for.

    Attributes:
        key: of the entry.
        bibtex: the entry itself.
        reasons: "strategy gossipsim.strategies.EXTRA", ...; software has its version.
    """

    key: str
    bibtex: str
    reasons: list[str]


@functools.cache
def entries() -> dict[str, str]:
    """Key -> BibTeX entry, everything that can be cited."""
    text = (files(__package__) / "entries.bib").read_text(encoding="utf-8")
    found = re.findall(r"^@\w+\{([^,]+),\n.*?^\}$", text, re.MULTILINE | re.DOTALL)
    blocks = re.split(r"\n\n(?=@)", text.strip())
    return dict(zip(found, blocks, strict=True))


@functools.cache
def _data(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((files(__package__) / name).read_text(encoding="utf-8"))
    return content


def sources_of(path: str, params: Mapping[str, Any], beside: Iterable[str] = ()) -> list[str]:
    """Keys of what a class stands for with these params, beside parts of these class paths; [] where nothing is known.

    >>> sources_of("gossipsim.strategies.gradient_tracking.GradientTracking", {"variant": "diging"})
    ['nedic2017diging']
    """
    found: list[str] = []
    for rule in _data("sources.json").get(_short(path), []):
        if isinstance(rule, str):
            found.append(rule)
        elif _applies(rule, params, {_short(other) for other in beside}):
            found += rule["cite"]
    return list(dict.fromkeys(found))


def _short(path: str) -> str:
    """A class by its room and name, wherever in the room it is defined: also torch.optim.adam.Adam."""
    parts = path.split(".")
    kept = 1 if parts[0] == "networkx" else 2
    return ".".join([*parts[: min(kept, len(parts) - 1)], parts[-1]])


def _applies(rule: Mapping[str, Any], params: Mapping[str, Any], beside: set[str]) -> bool:
    """null in a list of values stands for a param that is not given."""
    if "with" in rule and beside.isdisjoint(rule["with"]):
        return False
    if any(params.get(name) in values for name, values in rule.get("unless", {}).items()):
        return False
    return all(params.get(name) in values for name, values in rule.get("params", {}).items())


def cite(runs: Iterable[Spec], packages: Mapping[str, str]) -> tuple[list[Citation], list[str]]:
    """What the runs used, each entry once, and the class paths for which nothing is known.

    Args:
        runs: resolved runs, as in `spec` of run.json.
        packages: versions, as in env.json.
    """
    cited: dict[str, Citation] = {}
    unknown: dict[str, None] = {}
    for run in runs:
        for kind, spec, beside in _used(run):
            keys = sources_of(spec["class"], spec.get("params") or {}, beside)
            if not keys and not spec["class"].startswith(("gossipsim.", "torch.", "networkx.")):
                unknown[spec["class"]] = None
            for key in keys:
                _note(cited, key, f"{kind} {spec['class']}")
    for package, key in _SOFTWARE.items():
        version = packages.get(package)
        _note(cited, key, f"software {package}{f' {version}' if version else ''}", version)
    order = [*_PARTS, "software"]
    return sorted(cited.values(), key=lambda one: order.index(one.reasons[0].split()[0])), list(unknown)


def _note(cited: dict[str, Citation], key: str, reason: str, version: str | None = None) -> None:
    bibtex = entries()[key]
    if version:
        bibtex = f"{bibtex[:-1]}  note = {{Version {version}}},\n}}"
    citation = cited.setdefault(key, Citation(key, bibtex, []))
    if reason not in citation.reasons:
        citation.reasons.append(reason)


def _used(run: Spec) -> Iterator[tuple[str, Spec, list[str]]]:
    """(kind, spec, class paths beside it) of what the run made use of; specs inside params count too.

    A single node neither mixes nor shares its data, and some strategies do not look at the graph.
    """
    network = run.get("network") or {}
    skipped = {"strategy", "partition", *_NETWORK} if network.get("nodes", 1) == 1 else set[str]()
    if _ignores_graph(run["strategy"]):
        skipped |= {"topology", "weights"}
    parts = {kind: network.get(kind) if kind in _NETWORK else run.get(kind) for kind in _PARTS}
    used = {kind: spec for kind, spec in parts.items() if spec and kind not in skipped}
    paths = [spec["class"] for spec in used.values()]
    for kind, spec in used.items():
        for inside in _nested(spec):
            yield kind, inside, paths


def _ignores_graph(strategy: Spec) -> bool:
    conditions = _data("ignores_graph.json").get(_short(strategy["class"]))
    return conditions is not None and _applies({"params": conditions}, strategy.get("params") or {}, set())


def _nested(value: Any) -> Iterator[Spec]:
    """A spec and the specs inside it, outermost first."""
    if isinstance(value, Mapping):
        if isinstance(value.get("class"), str):
            yield value
        for each in value.values():
            yield from _nested(each)
    elif isinstance(value, list):
        for each in value:
            yield from _nested(each)
