"""What a class path may name: known ways to run other code, and with ``--allow`` anything that is not asked for.

A path is judged by its text, before anything is imported, and again by where the object that it leads to was defined:
``torch.os.system`` is ``posix.system``. Naming a module imports it, which runs it, so the list of what is refused is a
seat belt and no boundary; see SECURITY.md.
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
import pathlib
import re
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

_VALUES = ("bool", "int", "float", "complex", "str", "bytes", "list", "tuple", "dict", "set", "frozenset", "range")

COMPUTING = ("builtins", "cmath", "collections", "datetime", "decimal", "fractions", "math", "random", "statistics")
"""Of the standard library, the modules that only compute."""

_STANDARD_EXCEPTIONS = ("collections.namedtuple", "random._os", "random._urandom")

ROOMS = ("bench.jobs", "compression", "data", "models", "network", "optim", "strategies", "tasks", "trainers")
"""Of this package, the rooms that hold parts of an experiment; the others run, read and write."""

_DENIED = re.compile(
    r"""(
    torch\.(_classes|_dynamo|_inductor|_ops|classes|distributed|export|fx|hub|jit\.(_serialization|load)|library|load
        |multiprocessing|onnx|ops|package|profiler|save|serialization|testing)
    |torch\.utils\.(benchmark|bottleneck|bundled_inputs|collect_env|cpp_backtrace|cpp_extension|hipify|mobile_optimizer
        |model_dump|model_zoo|tensorboard|viz)
    |numpy\.(DataSource|ctypeslib|distutils|f2py|lib\.format|memmap|testing)
    |pandas\.(core\.computation|eval|io|read_pickle)
    |networkx\.(drawing|nx_\w+|utils\.configs)
    |(PIL|matplotlib|networkx|numpy|pandas|plotly|scipy|torch|torchvision)\.(\w+\.)*(draw|dump|save|to_pickle|write)\w*
    |Cython|IPython|_pytest|aiohttp|cffi|click|cloudpickle|cython|dask|debugpy|dill|execnet|filelock|fsspec|httpx|hydra
    |hypothesis|importlib_metadata|importlib_resources|ipykernel|jinja2|joblib|jupyter_client|llvmlite|mpi4py|mypy|numba
    |numexpr|paramiko|pexpect|pip|pkg_resources|playwright|plumbum|psutil|ptyprocess|pydantic|pytest|pyximport|requests
    |ruamel|selenium|setuptools|submitit|sympy|tensorboard|trackio|typer|urllib3|wandb|websockets|yaml|zmq
    )(\..*)?""",
    re.VERBOSE,
)
"""Of other libraries, what runs, loads, fetches or writes whatever it is told to."""


_LIBRARY = pathlib.Path(sysconfig.get_path("stdlib"))


@dataclass
class _Limit:
    """What `--allow` names; nothing: all that is not refused."""

    prefixes: tuple[str, ...] = ()


_limit = _Limit()


def allow_only(prefixes: Sequence[str]) -> None:
    """Lets class paths name only what begins with one of these, and the parts of this package; none: no such limit."""
    _limit.prefixes = tuple(prefixes)


def refusal_of_text(path: str) -> str | None:
    """Why a class path is not even imported."""
    first, *others = path.split(".")
    private = [part for part in others if part.startswith("__")]
    if private or (first.startswith("__") and first != "__main__"):
        return f"'{path}': names that begin with two underscores are Python's own"
    return None if first == "gossipsim" else _refused(path, path)  # no module of ours does anything when imported


def refusal_of_object(path: str, found: Any) -> str | None:
    """Why what a class path leads to is not used, by where it, and all that it wraps, was defined."""
    if isinstance(found, ModuleType):
        return None
    return next((wrong for home in homes(found) if (wrong := _refused(path, home))), None)


def homes(found: Any) -> Iterator[str]:
    """``module.name`` of an object and of what it wraps, as far as that is known.

    >>> import subprocess
    >>> list(homes(functools.partial(subprocess.run, "ls")))
    ['subprocess.run']
    """
    layers, seen = [found], set[int]()
    while layers:
        layer = layers.pop()
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        if isinstance(layer, functools.partial):
            layers.append(layer.func)
            continue
        yield _home(layer)
        wrapped = inspect.getattr_static(layer, "__wrapped__", None)
        if callable(wrapped):
            layers.append(wrapped)


def _home(found: Any) -> str:
    module = getattr(found, "__module__", None)
    name = getattr(found, "__qualname__", None) or getattr(found, "__name__", None)
    if not isinstance(name, str):
        name = type(found).__qualname__
    if not isinstance(module, str):  # a method in C: of a class, an object or a module
        owner = getattr(found, "__objclass__", None) or getattr(found, "__self__", None) or found
        module = owner.__name__ if isinstance(owner, ModuleType) else getattr(owner, "__module__", None)
        module = module if isinstance(module, str) else type(owner).__module__
    return f"{module}.{name}"


def _refused(path: str, home: str) -> str | None:
    """`home` is the path itself, or where what it leads to was defined."""
    what = f"'{path}'" if path == home else f"'{path}' ({home})"
    top, _, inside = home.partition(".")
    if top == "gossipsim":
        rooms = ", ".join(ROOMS)
        return None if within(inside, ROOMS) else f"{what} is no part of an experiment; gossipsim has them in {rooms}"
    wrong = None
    if _is_standard(top):
        if top == "builtins":
            wrong = None if inside in _VALUES else f"of Python's builtins only {', '.join(_VALUES)} can be named"
        elif top not in COMPUTING or within(home, _STANDARD_EXCEPTIONS):
            wrong = f"of the standard library only {', '.join(COMPUTING)} can be named"
    elif _DENIED.fullmatch(home):
        wrong = "it can run, load, fetch or write anything"
    if wrong:
        return f"{what} is refused: {wrong}; if you need it, call it in a function of your own"
    if not _limit.prefixes or within(home, _limit.prefixes):
        return None
    return f"{what} is outside of what --allow names: {', '.join(_limit.prefixes)}"


def within(path: str, prefixes: Sequence[str]) -> bool:
    """Whether a dotted path is one of these, or inside one.

    >>> within("torch.optim.SGD", ["torch.optim"]), within("torch.optimal.SGD", ["torch.optim"])
    (True, False)
    """
    return any(path == prefix or path.startswith(f"{prefix}.") for prefix in prefixes)


def _is_standard(name: str) -> bool:
    """Whether a top-level module is Python's own, and not a file of the user's with the same name."""
    listed = name in sys.stdlib_module_names
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return listed
    if spec is None or spec.origin is None or not pathlib.Path(spec.origin).is_absolute():
        return listed
    return _LIBRARY in pathlib.Path(spec.origin).parents and "-packages" not in spec.origin
