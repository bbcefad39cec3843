"""Which trackers there are, and whether they can be used here."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from importlib.util import find_spec

TRACKERS = {
    "tensorboard": "pip install 'gossipsim[tensorboard]'",
    "wandb": "pip install 'gossipsim[wandb]'",
    "trackio": "pip install trackio",
}
"""Name, which is also that of the module to import, and how to install it."""


def check_trackers(names: Sequence[str]) -> tuple[str, ...]:
    """The names, each once.

    Raises:
        ValueError: for an unknown tracker, one whose library is not installed, or wandb where nobody is logged in.
    """
    for name in names:
        if name not in TRACKERS:
            raise ValueError(f"--track {name}: give {', '.join(TRACKERS)}")
        if find_spec(name) is None:
            raise ValueError(f"--track {name}: {name} is not installed; {TRACKERS[name]}")
    if "wandb" in names:
        _log_in()
    return tuple(dict.fromkeys(names))


def _log_in() -> None:
    """Now, so that wandb asks for a key before there are bars, and says before anything is written that it has none."""
    wandb = importlib.import_module("wandb")
    if wandb.setup().settings.mode in ("offline", "disabled"):
        return
    try:
        wandb.login()
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"--track wandb: {reason} Or set WANDB_MODE=offline and `wandb sync` later") from error
