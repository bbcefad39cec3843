"""Experiment -> runs: overrides, grid, checks, a :class:`RunSpec` per cell, task, model, optimizer, seed."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from pydantic import TypeAdapter

from gossipsim.config.checks import is_checkable, spec_problems
from gossipsim.config.crossed import Entry, Part, Row, Step, rows, with_candidates, with_steps
from gossipsim.config.documents import Crossed, Document, load, task_directories
from gossipsim.config.faults import all_faults, of_environment
from gossipsim.config.json_source import Source, plain
from gossipsim.config.models import CROSSED, EXPERIMENT, SECTIONS, Experiment, shape_errors
from gossipsim.config.names import cell_label, display, distinct, short_paths
from gossipsim.config.origins import Anchor, Errors, Origins
from gossipsim.config.runs import Plan, RunSpec, canonical, final_spec, without_names
from gossipsim.config.sweep import (
    NETWORK_SPECS,
    cells,
    count,
    document_path,
    fill_defaults,
    is_spec_path,
    path_problem,
    set_at,
)
from gossipsim.faults import Fault
from gossipsim.spec import Path, allow_only, dotted, use_import_path

MAX_RUNS = 100_000
_OTHER_KEYS = tuple(field.alias or name for name, field in Experiment.model_fields.items() if name not in SECTIONS)


def plan(
    config: str | os.PathLike[str] | Mapping[str, Any],
    *,
    overrides: Mapping[str, Any] | None = None,
    seeds: Sequence[int] | None = None,
    allow: Sequence[str] = (),
) -> Plan:
    """Reads and checks a configuration, a file or a dict, and lists its runs. Nothing is built or written.

    `overrides` maps dotted paths to values and is applied first; an override of a swept path ends that sweep,
    and one below a swept path holds in every cell. `seeds` replaces those of the configuration. Class paths are
    limited to those that begin with one of `allow`, where there are any, and to gossipsim's parts.

    Raises:
        ConfigError: with every mistake that was found.
    """
    allow_only(allow)
    return _Planner(config, dict(overrides or {}), None if seeds is None else list(seeds), tuple(allow)).plan()


def experiment_schema() -> dict[str, Any]:
    """The JSON Schema of an experiment file, for editors."""
    schema = Experiment.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


@dataclass(frozen=True)
class _Cell:
    """One combination of grid and zip: its swept values, its sections, and its tasks, models and optimizers."""

    swept: dict[str, Any]
    sections: dict[str, Any]
    origins: Origins
    entries: list[Entry]


class _Planner:
    def __init__(self, config: Any, overrides: dict[str, Any], seeds: list[int] | None, allow: tuple[str, ...]) -> None:
        self.errors = Errors()
        self.overrides = overrides
        self.seeds = seeds
        self.allow = allow
        self.document: Document = load(config, self.errors)
        self.inner_overrides: list[Step] = []
        self.crossed: dict[tuple[Path, ...], list[Entry]] = {}
        self.checked: dict[tuple[str, str], list[tuple[Path, str]]] = {}

    def plan(self) -> Plan:
        document = self.document
        self.apply_overrides()
        self.check_shape()
        folders = [document.folder, os.getcwd()] if document.file else [os.getcwd()]
        use_import_path(folders)
        self.listed = task_directories(document, self.errors)
        grid, paired = self.sweeps()
        swept = [*grid, *paired]
        found = self.cells(grid, paired)
        asked = of_environment(self.errors)
        self.errors.raise_if_any()
        largest = max(cell.sections["network"]["nodes"] for cell in found)
        faults = all_faults(document, asked, largest, self.errors)
        self.errors.raise_if_any()
        runs = self.runs(found, swept, faults)
        name = document.value["name"]
        experiment = Experiment.model_validate(document.value)
        given = dict(self.overrides) | ({} if self.seeds is None else {"seeds": self.seeds})
        return Plan(
            name=name,
            workflow=document.value.get("workflow") or f"workflow/{name}",
            source=document.file,
            document=copy.deepcopy(document.given),
            overrides=given,
            swept=swept,
            runs=runs,
            gates=experiment.gates,
            targets=experiment.targets,
            selection=experiment.selection.model_dump(exclude_none=True),
            search_paths=[FilePath(folder) for folder in dict.fromkeys(folders)],
            allow=self.allow,
        )

    def apply_overrides(self) -> None:
        """Puts the overrides into the document; those below a swept path wait for the cells."""
        document = self.document
        document.value = copy.deepcopy(document.given)
        given = {**self.overrides}
        named = {path: f"--set {path}" for path in given}
        if self.seeds is not None:
            given["seeds"], named["seeds"] = self.seeds, "--seeds"
        touched = [*given, *self.swept_keys()]
        if any(str(path).partition(".")[0] == "network" for path in touched):
            document.value["network"] = document.value.get("network") or {}
        fill_defaults(document.value, network_is_used=document.value.get("network") is not None)
        for path, raw in sorted(given.items(), key=lambda item: str(item[0]).count(".")):
            problems: list[tuple[Path, str]] = []
            value = plain(raw, (), problems)
            anchor = Anchor(Source(named[path], value), whole=True)
            wrong = path_problem(str(path), _OTHER_KEYS)
            for _, message in problems:
                self.errors.add(anchor, message)
            if wrong:
                self.errors.add(anchor, wrong)
            elif not problems:
                self.override(str(path), value, anchor)
        sweeps_network = any(key.startswith("network.") for key in self.swept_keys())
        fill_defaults(document.value, network_is_used=sweeps_network)

    def override(self, path: str, value: Any, anchor: Anchor) -> None:
        document = self.document
        for kind in ("grid", "zip"):
            if isinstance(document.value.get(kind), dict):
                document.value[kind] = {key: each for key, each in document.value[kind].items() if key != path}
        below_a_sweep = any(path.startswith(f"{swept}.") for swept in self.swept_keys())
        if below_a_sweep or document_path(path)[0] in CROSSED:
            self.inner_overrides.append(Step(path, value, anchor, swept=False))
            return
        parts = document_path(path)
        wrong = set_at(document.value, parts, value)
        if wrong:
            self.errors.add(anchor, wrong)
            return
        document.origins = document.origins.replaced(parts, anchor)

    def swept_keys(self) -> list[str]:
        lists = [self.document.value.get(kind) for kind in ("grid", "zip")]
        return [key for each in lists if isinstance(each, dict) for key in each]

    def check_shape(self) -> None:
        """The experiment file itself; the sections are checked in each cell, with what is swept into them."""
        document = self.document
        for path, message in shape_errors(EXPERIMENT, document.value):
            self.errors.add(document.origins.anchor(path), message)
        if not document.value.get("task_dirs") and not document.value.get("tasks"):
            message = "missing: give at least one directory with task.json, models.json and optimizers.json"
            self.errors.add(document.origins.anchor(("task_dirs",)), f"{message} (or 'tasks' written in place)")

    def entries(self, steps: list[Step], places: tuple[Path, ...]) -> list[Entry]:
        """The tasks, models and optimizers of a cell; cells that sweep nothing of them share one list."""
        if places not in self.crossed:
            whole = with_steps(self.listed, steps, self.errors)
            for part in (part for entry in whole for part in entry.parts if len(part.written) > 1):
                self.note(part.origins, (part.kind,), self.shape(part.kind, CROSSED[part.kind], part.spec))
            entries = with_candidates(whole, self.errors)
            self.check_repeats([task for entry in entries for task in entry.tasks])
            for entry in entries:
                for part in entry.parts:
                    self.check_at(part.kind, part.spec, part.origins, (part.kind,))
                self.check_repeats(entry.models)
                self.check_repeats(entry.optimizers)
            self.crossed[places] = entries
        return self.crossed[places]

    def check_repeats(self, parts: list[Part]) -> None:
        """Two entries that read the same and are the same would be one result counted twice."""
        seen: dict[str, Anchor] = {}
        for part in parts:
            if not is_checkable(part.spec):
                continue
            full = {"params": {}, **({"class": part.spec} if isinstance(part.spec, str) else part.spec)}
            key = canonical([display(part.spec), without_names(full)])
            anchor = part.written[0][1]
            if key in seen:
                first = seen[key]
                set_here = [dotted(path) for path, _ in part.written[1:]]
                why = f" but for {', '.join(set_here)}, which is set for both" if set_here else ""
                self.errors.add(anchor, f"the same as {first.text(first.path)}{why}; remove one or change it")
            seen.setdefault(key, anchor)

    def sweeps(self) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        """The grid and the zip, without the keys that are wrong."""
        value, origins = self.document.value, self.document.origins
        kinds: dict[str, dict[str, list[Any]]] = {"grid": {}, "zip": {}}
        for kind, good in kinds.items():
            lists = value.get(kind)
            for path, values in lists.items() if isinstance(lists, dict) else ():
                anchor = origins.anchor((kind, path))
                wrong = path_problem(path)
                if not wrong and path in kinds["grid"] and kind == "zip":
                    wrong = "is swept by 'grid' already"
                if wrong:
                    self.errors.add(anchor, wrong)
                elif isinstance(values, list) and values:
                    good[path] = values
                    if kind == "grid":
                        self.check_values(path, values)
        if len({len(values) for values in kinds["zip"].values()}) > 1:
            kinds["zip"] = {}  # reported with the shape
        return kinds["grid"], kinds["zip"]

    def check_values(self, path: str, values: list[Any]) -> None:
        seen: dict[str, int] = {}
        for i, value in enumerate(values):
            key = canonical({"class": value} if is_spec_path(path) and isinstance(value, str) else value)
            if key in seen:
                anchor = self.document.origins.anchor(("grid", path, i))
                self.errors.add(anchor, f"the same value as entry {seen[key]}; remove one")
            seen.setdefault(key, i)

    def cells(self, grid: dict[str, list[Any]], paired: dict[str, list[Any]]) -> list[_Cell]:
        """Every cell; a broken one is only good for its errors."""
        combinations = count(grid, paired)
        number = combinations * self.runs_per_cell(self.listed)
        found = []
        for choice in cells(grid, paired) if number <= MAX_RUNS else ():
            origins = self.document.origins
            steps = [Step(str(place[1]), value, origins.anchor(place), swept=True) for place, value in choice.items()]
            steps = sorted([*steps, *self.inner_overrides], key=lambda step: step.path.count("."))
            sections, origins = self.sections([step for step in steps if step.parts[0] in SECTIONS])
            self.check_sections(sections, origins)
            places = tuple(place for place in choice if document_path(str(place[1]))[0] in CROSSED)
            entries = self.entries([step for step in steps if step.parts[0] in CROSSED], places)
            found.append(_Cell({str(place[1]): value for place, value in choice.items()}, sections, origins, entries))
            number = combinations * self.runs_per_cell(entries)
            if number > MAX_RUNS:
                break
        if number > MAX_RUNS:
            message = f"{number} runs are more than {MAX_RUNS}; split the experiment"
            self.errors.add(self.document.origins.anchor(("grid",)), message)
        return found

    def runs_per_cell(self, entries: Sequence[Crossed | Entry]) -> int:
        seeds = self.document.value.get("seeds", [0])
        crossed = sum(len(entry.models) * len(entry.optimizers) for entry in entries)
        return max(crossed, 1) * max(len(seeds) if isinstance(seeds, list) else 1, 1)

    def sections(self, steps: list[Step]) -> tuple[dict[str, Any], Origins]:
        """The document's sections with a cell's values put in; outer paths first."""
        origins = self.document.origins
        sections = copy.deepcopy({key: self.document.value[key] for key in SECTIONS})
        for step in steps:
            wrong = set_at(sections, step.parts, step.value)
            if wrong:
                self.errors.add(step.anchor, wrong)
            else:
                origins = origins.replaced(step.parts, step.anchor)
        fill_defaults(sections, network_is_used=True)
        return sections, origins

    def check_sections(self, sections: dict[str, Any], origins: Origins) -> None:
        for section, adapter in SECTIONS.items():
            value = sections[section]
            wrong = self.shape(section, adapter, value)
            self.note(origins, (section,), wrong)
            if section != "network":
                self.check_at(section, value, origins, (section,))
            elif isinstance(value, dict):
                if value.get("nodes") is None and not wrong:
                    message = "missing: the number of nodes, an integer >= 1"
                    self.errors.add(origins.anchor(("network", "nodes")), message)
                for part in NETWORK_SPECS:
                    if value.get(part) is not None:
                        self.check_at(part, value[part], origins, ("network", part))

    def check_at(self, kind: str, spec: Any, origins: Origins, at: Path) -> None:
        key = (kind, canonical(spec))
        if key not in self.checked:
            self.checked[key] = spec_problems(kind, spec)
        self.note(origins, at, self.checked[key])

    def shape(self, kind: str, adapter: TypeAdapter[Any], value: Any) -> list[tuple[Path, str]]:
        key = (f"shape of {kind}", canonical(value))
        if key not in self.checked:
            self.checked[key] = shape_errors(adapter, value)
        return self.checked[key]

    def note(self, origins: Origins, at: Path, problems: list[tuple[Path, str]]) -> None:
        for path, message in problems:
            self.errors.add(origins.anchor((*at, *path)), message)

    def runs(self, found: list[_Cell], swept: list[str], faults: tuple[Fault, ...]) -> list[RunSpec]:
        seeds = self.document.value.get("seeds", [0])
        made = {id(cell.entries): rows(cell.entries) for cell in found}
        labels = _cell_labels(found, [made[id(cell.entries)] for cell in found], swept)
        runs: list[RunSpec] = []
        for cell, label in zip(found, labels, strict=True):
            shared = _final_sections(cell.sections)
            for row in made[id(cell.entries)]:
                here = cell.origins
                for path, anchor in row.written:
                    here = here.replaced(path, anchor)
                for i, seed in enumerate(seeds):
                    run = RunSpec(
                        **row.specs,
                        **shared,
                        seed=seed,
                        cell=cell.swept,
                        labels={**row.names, "cell": label},
                        origins=here.replaced(("seed",), cell.origins.anchor(("seeds", i))),
                        faults=faults,
                        tuned=row.tuned,
                    )
                    runs.append(run)
        return runs


def _cell_labels(found: list[_Cell], rows_of: list[list[Row]], swept: list[str]) -> list[str]:
    """``lr=0.1, topology=ring``. A whole task, model or optimizer has a label of its own and is told here only where
    that is not enough to tell all runs apart.
    """
    for paths in ([path for path in swept if path not in CROSSED], swept):
        spec_valued = [is_spec_path(path) for path in paths]
        short = short_paths(paths)
        labels = [cell_label(short, [cell.swept[path] for path in paths], spec_valued) for cell in found]
        each = [
            (label, *row.names.values()) for label, cell_rows in zip(labels, rows_of, strict=True) for row in cell_rows
        ]
        if len(set(each)) == len(each):
            return labels
    return distinct(labels)


def _final_sections(sections: dict[str, Any]) -> dict[str, Any]:
    network = sections["network"]
    return {
        "trainer": final_spec(sections["trainer"]),
        "strategy": final_spec(sections["strategy"]),
        "partition": final_spec(sections["partition"]),
        "network": {
            "nodes": network["nodes"],
            **{part: final_spec(network[part]) for part in NETWORK_SPECS if network.get(part) is not None},
        },
    }
