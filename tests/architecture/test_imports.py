"""Imports point downward, rooms form no cycles, and heavy libraries stay in the rooms that own them."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "gossipsim"

TOP_DOWN = (
    ("cli", "__main__"),
    ("legacy_runner",),
    ("commands", "doctor", "bench", "checks", "legacy"),
    ("schema", "scaffold", "citations"),
    ("catalogue",),
    ("testing",),
    ("report",),
    ("runner",),
    ("conduct",),
    ("preview",),
    ("options",),
    ("estimate", "slurm"),
    ("program",),
    ("display", "observers"),
    ("joined",),
    ("execution",),
    ("trackers",),
    ("experiment",),
    ("environment",),
    ("preflight",),
    ("parts",),
    ("protocols",),
    ("trainers",),
    ("rounds",),
    ("strategies",),
    ("record",),
    ("optimizer_state",),
    ("nodes",),
    ("checkpoints",),
    ("mixing",),
    ("compression",),
    ("world",),
    ("network",),
    ("optim",),
    ("stacked",),
    ("tasks",),
    ("models",),
    ("data",),
    ("progress",),
    ("results",),
    ("config",),
    ("faults",),
    ("spec",),
    ("streams",),
)
"""The rooms of the package. A module may import from its own room, from its level, and from the levels below."""

LEVEL = {room: level for level, rooms in enumerate(TOP_DOWN) for room in rooms}

OWNERS = {"torch.distributed": {"world"}, "matplotlib": {"report"}, "torchvision": {"tasks"}}
"""Libraries that only these rooms may import."""

WITHOUT_TORCH = ("report", "progress", "results", "config", "faults", "spec", "citations")


@dataclass(frozen=True)
class Import:
    """`importer` (a module of the package) imports `name` at a line; `top`: when it is itself imported."""

    importer: str
    name: str
    line: int
    top: bool

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.name}"


def _module(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_module(file): file for file in PACKAGE.rglob("*.py")}


def _room(module: str) -> str:
    return module.split(".")[1]


def _imports(module: str) -> Iterator[Import]:
    tree = ast.parse(MODULES[module].read_text())
    inside = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.Lambda) for n in ast.walk(f)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: a relative import"
            assert node.module is not None
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            names = [alias.name for alias in node.names]
        for name in names:
            yield Import(module, name, node.lineno, top=id(node) not in inside)


ALL = [found for module in sorted(MODULES) for found in _imports(module)]
OWN = [found for found in ALL if found.name.split(".")[0] == "gossipsim" and found.importer != "gossipsim"]


def _target(name: str) -> str:
    """The module of the package that an imported dotted name lives in."""
    while name not in MODULES:
        name = name.rpartition(".")[0]
    return name


def test_every_room_has_a_level() -> None:
    assert {_room(module) for module in MODULES if module != "gossipsim"} <= set(LEVEL)


def test_nothing_imports_the_lazy_front_door() -> None:
    """Names of `gossipsim` itself are for users; inside, an import says which room it means."""
    assert [str(found) for found in OWN if _target(found.name) == "gossipsim"] == []


def test_imports_point_downward() -> None:
    upward = [
        str(found)
        for found in OWN
        if _target(found.name) != "gossipsim" and LEVEL[_room(_target(found.name))] < LEVEL[_room(found.importer)]
    ]
    assert upward == []


def test_no_cycles() -> None:
    """Among all modules, by their imports at the top level, those for type checkers included."""
    graph: dict[str, set[str]] = {module: set() for module in MODULES}
    for found in OWN:
        if found.top:
            graph[found.importer].add(_target(found.name))
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"import cycle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("library", OWNERS)
def test_a_library_stays_with_its_owner(library: str) -> None:
    elsewhere = [
        str(found)
        for found in ALL
        if f"{found.name}.".startswith(f"{library}.")
        and (found.importer == "gossipsim" or _room(found.importer) not in OWNERS[library])
    ]
    assert elsewhere == []


def test_torchvision_is_imported_only_when_a_task_needs_it() -> None:
    assert [str(found) for found in ALL if found.top and found.name.split(".")[0] == "torchvision"] == []


@pytest.mark.parametrize("room", WITHOUT_TORCH)
def test_readers_of_files_need_no_torch(room: str) -> None:
    """Neither themselves nor through what they import from the package."""
    seen: set[str] = set()
    queue = [module for module in MODULES if module != "gossipsim" and _room(module) == room]
    while queue:
        module = queue.pop()
        seen.add(module)
        queue += [t for f in OWN if f.importer == module and (t := _target(f.name)) not in seen | {"gossipsim"}]
    assert [str(f) for f in ALL if f.importer in seen and f.name.split(".")[0] == "torch"] == []
