"""Nothing is unpickled, and nothing that the package reads or is told is run: what SECURITY.md promises of the code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "gossipsim").rglob("*.py"))

PICKLERS = ("cloudpickle", "concurrent.futures", "copyreg", "dill", "joblib", "marshal", "pickle", "shelve", "xmlrpc")

FORK_ONLY = {"get_context", "connection", "parent_process"}
"""What of multiprocessing may be used: processes that are forked, who has forked them, and pipes, which carry bytes."""

EVALUATES = {"gossipsim/spec/signature.py": {"eval"}}
"""Postponed annotations of modules that are imported already."""


def _where(file: Path, node: ast.AST) -> str:
    return f"{file.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"


def _nodes(kind: type[ast.AST] | tuple[type[ast.AST], ...]) -> Iterator[tuple[Path, ast.AST]]:
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, kind):
                yield file, node


def _calls() -> Iterator[tuple[Path, ast.Call, str]]:
    """Every call with the dotted text of what is called."""
    for file, node in _nodes(ast.Call):
        assert isinstance(node, ast.Call)
        yield file, node, ast.unparse(node.func)


def _imported() -> Iterator[tuple[Path, ast.AST, str]]:
    for file, node in _nodes((ast.Import, ast.ImportFrom)):
        module = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
        assert isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names:
            yield file, node, module + alias.name


def _constant(call: ast.Call, keyword: str) -> object:
    found = [each.value for each in call.keywords if each.arg == keyword]
    return found[0].value if found and isinstance(found[0], ast.Constant) else None


@pytest.mark.parametrize("library", PICKLERS)
def test_no_library_that_pickles_is_imported(library: str) -> None:
    assert [_where(file, node) for file, node, name in _imported() if f"{name}.".startswith(f"{library}.")] == []


def test_of_multiprocessing_only_forks_and_pipes() -> None:
    used = {name.split(".")[1] for _, _, name in _imported() if name.startswith("multiprocessing.")}
    used |= {text.split(".")[1] for _, _, text in _calls() if text.startswith("multiprocessing.")}
    assert used <= FORK_ONLY


def test_pipes_carry_bytes() -> None:
    users = {file for file, _, name in _imported() if name.split(".")[0] == "multiprocessing"}
    assert users
    objects = [_where(f, n) for f, n, text in _calls() if f in users and text.rpartition(".")[2] in ("send", "recv")]
    assert objects == []


def test_no_object_goes_through_torch_distributed() -> None:
    ends = ("_object", "_object_list", "rpc_sync", "rpc_async")
    assert [_where(f, n) for f, n, text in _calls() if text.startswith("dist.") and text.endswith(ends)] == []
    assert [_where(f, n) for f, n, name in _imported() if name.startswith("torch.distributed.rpc")] == []


@pytest.mark.parametrize(
    ("call", "keyword", "safe"), [("np.load", "allow_pickle", False), ("torch.load", "weights_only", True)]
)
def test_files_are_read_without_objects(call: str, keyword: str, safe: bool) -> None:
    calls = [(file, node) for file, node, text in _calls() if text == call]
    assert calls
    assert [_where(file, node) for file, node in calls if _constant(node, keyword) is not safe] == []


def test_nothing_is_evaluated() -> None:
    found = [
        f"{_where(file, node)} {text}"
        for file, node, text in _calls()
        if text in ("eval", "exec", "compile", "os.system", "os.popen", "__import__")
        and text not in EVALUATES.get(str(file.relative_to(ROOT)), ())
    ]
    assert found == []


def test_no_command_goes_through_a_shell() -> None:
    assert [_where(file, node) for file, node, _ in _calls() if _constant(node, "shell") is True] == []
