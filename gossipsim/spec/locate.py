"""Class path -> object, and the folders in which the user's own modules are looked for."""

from __future__ import annotations

import importlib
import pathlib
import pkgutil
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from gossipsim.spec.text import did_you_mean
from gossipsim.spec.trust import refusal_of_object, refusal_of_text

_FEW = 12


class LocateError(LookupError):
    """A class path that names nothing, or what it may not name; the message says which part and what is near."""


def locate(path: str) -> Any:
    """The class or function that a dotted path names.

    Raises:
        LocateError: where a module or an attribute does not exist, importing a module fails, or
            :mod:`gossipsim.spec.trust` refuses what the path names.

    >>> locate("collections.OrderedDict").__name__
    'OrderedDict'
    >>> locate("collections.OrderdDict")
    Traceback (most recent call last):
    gossipsim.spec.locate.LocateError: 'collections' has no 'OrderdDict' (did you mean 'OrderedDict'?)
    """
    parts = path.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise LocateError(f"'{path}' is not a dotted path such as 'torch.optim.SGD'")
    if wrong := refusal_of_text(path):
        raise LocateError(wrong)
    found: Any = _import(parts[0])
    if found is None:
        raise LocateError(f"no module '{parts[0]}'{did_you_mean(parts[0], _top_level_names())}")
    for position, part in enumerate(parts[1:], start=1):
        parent, owner = found, ".".join(parts[:position])
        found = _member(parent, owner, part)
        if found is None:
            raise LocateError(f"'{owner}' has no '{part}'{_names_near(parent, part)}")
    if wrong := refusal_of_object(path, found):
        raise LocateError(wrong)
    return found


def _member(parent: Any, owner: str, name: str) -> Any:
    try:
        found = getattr(parent, name, None)
    except Exception as error:  # a lazy module or a descriptor may raise anything
        raise LocateError(f"reading '{owner}.{name}' failed: {_one_line(error)}") from error
    if found is None and isinstance(parent, ModuleType) and hasattr(parent, "__path__"):
        return _import(f"{owner}.{name}")
    return found


def _import(module: str) -> ModuleType | None:
    """The module, or None where there is none by that name."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name == module:
            return None
        raise LocateError(f"importing '{module}' failed: {_one_line(error)}") from error
    except (Exception, SystemExit) as error:  # the user's module may raise anything
        raise LocateError(f"importing '{module}' failed: {_one_line(error)}") from error


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _top_level_names() -> set[str]:
    return {module.name for module in pkgutil.iter_modules()} | set(sys.stdlib_module_names)


def _names_near(parent: Any, name: str) -> str:
    names = {*dir(parent), *getattr(parent, "__all__", ())}
    if isinstance(parent, ModuleType):
        names |= {module.name for module in pkgutil.iter_modules(getattr(parent, "__path__", []))}
    public = sorted(each for each in names if not each.startswith("_"))
    near = did_you_mean(name, public)
    if near or not 0 < len(public) <= _FEW:
        return near
    return f"; it has {', '.join(public)}"


class _ImportPath:
    """The folders that configurations have put on ``sys.path``, and which modules are not theirs."""

    def __init__(self) -> None:
        self.added: dict[str, frozenset[str]] = {}  # folder -> top-level modules loaded before it was added

    def use(self, folders: Sequence[str]) -> None:
        for folder in [folder for folder in self.added if folder not in folders]:
            self._forget(folder)
        for folder in reversed(folders):
            if folder in sys.path:
                sys.path.remove(folder)
            else:
                loaded = frozenset(name.partition(".")[0] for name in sys.modules)
                self.added.setdefault(folder, loaded)
            sys.path.insert(0, folder)
        importlib.invalidate_caches()

    def _forget(self, folder: str) -> None:
        """Takes back a folder and the modules that were imported from it."""
        loaded_before = self.added.pop(folder)
        if folder in sys.path:
            sys.path.remove(folder)
        ours = {
            name
            for name, module in list(sys.modules.items())
            if "." not in name and name not in loaded_before and _lies_in(module, folder)
        }
        for name in [name for name in sys.modules if name.partition(".")[0] in ours]:
            del sys.modules[name]


def _lies_in(module: ModuleType, folder: str) -> bool:
    file = getattr(module, "__file__", None)
    if not isinstance(file, str):
        return any(pathlib.Path(place).parent == pathlib.Path(folder) for place in getattr(module, "__path__", []))
    parent = pathlib.Path(file).parent
    return pathlib.Path(folder) in (parent, parent.parent if file.endswith("__init__.py") else parent)


_import_path = _ImportPath()


def use_import_path(folders: Sequence[str | pathlib.Path]) -> None:
    """Puts folders at the head of ``sys.path``, in order and once each.

    Folders that an earlier call has added and that are not among these are taken away, and so are the modules that
    came from them: two configurations in one process may each have a ``my_parts.py`` beside them.
    """
    _import_path.use(list(dict.fromkeys(str(folder) for folder in folders)))
