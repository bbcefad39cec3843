"""What a configuration becomes: a :class:`Plan` of :class:`RunSpec`."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path as FilePath
from typing import Any

from gossipsim.config.files import digest_of, named_files
from gossipsim.config.models import Gate
from gossipsim.config.origins import Origins
from gossipsim.faults import Fault
from gossipsim.spec import is_spec, normalise

Spec = dict[str, Any]


@dataclass(frozen=True, eq=False)
class RunSpec:
    """All that decides one run. Specs are normalised: ``{"class", "params", "name"}``."""

    task: Spec
    model: Spec
    optimizer: Spec  # may carry "schedule" (a spec with "every": "epoch" | "step") and "clip_grad_norm"
    trainer: Spec
    strategy: Spec
    partition: Spec
    network: dict[str, Any]  # "nodes": int and specs: "topology", "weights"; where given "links", "compression"
    seed: int
    cell: dict[str, Any]  # swept path -> value as written
    labels: dict[str, str]  # display names: task, model, optimizer, cell
    origins: Origins
    faults: tuple[Fault, ...] = ()  # what goes wrong on purpose; decides nothing
    tuned: dict[str, Any] | None = None  # of a candidate: "optimizer", what it is called untuned, and its "params"

    def resolved(self) -> dict[str, Any]:
        """What decides the result, without display names; a copy of plain JSON values."""
        parts = {
            "task": self.task,
            "model": self.model,
            "optimizer": self.optimizer,
            "trainer": self.trainer,
            "strategy": self.strategy,
            "partition": self.partition,
            "network": self.network,
            "seed": self.seed,
        }
        return {key: without_names(part) for key, part in parts.items()}

    @cached_property
    def files(self) -> dict[str, str]:
        """The files that params name and that there are -> their SHA-256: what they hold decides the result as well."""
        return {path: sha256 for path in named_files(self.resolved()) if (sha256 := digest_of(path)) is not None}

    @cached_property
    def key(self) -> str:
        """SHA-256 of the canonical JSON of :meth:`resolved` and :attr:`files`, without what cannot change the
        result."""
        deciding = self.resolved()
        deciding["trainer"]["params"].pop("checkpoint_every", None)
        if self.files:
            deciding["files"] = self.files
        return hashlib.sha256(canonical(deciding).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class Plan:
    """The runs of an experiment, in order: cells, then task, model, optimizer, seed."""

    name: str
    workflow: str  # relative to the working directory
    source: FilePath | None  # None for a dict
    document: dict[str, Any]  # as given, without the overrides
    overrides: dict[str, Any]  # dotted path -> value, the seeds of the command line included
    swept: list[str]
    runs: list[RunSpec]
    gates: list[Gate]
    targets: dict[str, list[float]]  # metric -> values of which results say when they were reached first
    selection: dict[str, Any]  # "metric" that tuned optimizers are chosen by, where one is given
    search_paths: list[FilePath]  # for gossipsim.spec.use_import_path
    allow: tuple[str, ...]  # for gossipsim.spec.allow_only


def canonical(value: Any) -> str:
    """One text per JSON value, whatever the order of its keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def without_names(value: Any) -> Any:
    """A copy in which no spec has a display name."""
    if isinstance(value, Mapping):
        drop = "name" if is_spec(value) else None
        return {key: without_names(item) for key, item in value.items() if key != drop}
    if isinstance(value, list):
        return [without_names(item) for item in value]
    return copy.deepcopy(value)


def final_spec(spec: str | Mapping[str, Any]) -> Spec:
    """Normalised, with the extras of an optimizer spelled out."""
    final = normalise(spec)
    if final.get("schedule") is not None:
        final["schedule"] = {"every": "epoch", **normalise(final["schedule"])}
    return {key: value for key, value in final.items() if value is not None}
