"""gossipsim: decentralized optimization on real processes, with the same bits in one process and in many.

    >>> import gossipsim
    >>> gossipsim.run  # doctest: +ELLIPSIS
    <function run at ...>

Public names are resolved when they are first used, so that `import gossipsim` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gossipsim.config import ConfigError
    from gossipsim.results import Results, load
    from gossipsim.runner import run

__all__ = ["ConfigError", "Results", "load", "run"]

_HOMES = {
    "ConfigError": "gossipsim.config",
    "Results": "gossipsim.results",
    "load": "gossipsim.results",
    "run": "gossipsim.runner",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'gossipsim' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
