"""The state of one node's optimizer and lr_scheduler as a tree, whichever engine keeps it.

A tree is that of an optimizer which the node has for itself. Where one object steps many nodes, they are its rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from gossipsim.checkpoints import Tree, is_tree
from gossipsim.optim.stacking import entry_of_row, entry_of_rows

COMPLETE = ("torch", "gossipsim")
"""Packages whose optimizers keep all that changes in `state` and `param_groups`; others may use attributes too."""


def optimizer_tree(optimizer: torch.optim.Optimizer, row: int | None = None) -> Tree:
    """The state of an optimizer, or of a row where its parameters are stacked.

    What the class itself calls its state where it writes `state_dict` and `load_state_dict`; else the state of every
    parameter, and of groups and attributes what are numbers or text. The rest comes with the construction.
    """
    if _speaks_for_itself(optimizer):
        return optimizer.state_dict()
    places = _places(optimizer)
    state = {
        (places[key] if isinstance(key, Tensor) else key): entries if row is None else _of_row(entries, key, row)
        for key, entries in optimizer.state.items()
    }
    groups = [_plain({name: group[name] for name in group if name != "params"}) for group in optimizer.param_groups]
    inner = {name: optimizer_tree(one) for name, one in _inner(optimizer).items()}
    return {"state": state, "groups": groups, "attributes": _attributes(optimizer), "inner": inner}


def restore_optimizer(optimizer: torch.optim.Optimizer, trees: Sequence[Tree], *, stacked: bool = False) -> None:
    """Undoes :func:`optimizer_tree`: from one tree, or from one for each row where the parameters are stacked."""
    if _speaks_for_itself(optimizer):
        optimizer.load_state_dict(trees[0])
        return
    keys: dict[int | str, Any] = {place: p for p, place in _places(optimizer).items()}
    optimizer.state.clear()
    for key, entries in trees[0]["state"].items():
        own = _of_rows([tree["state"][key] for tree in trees], keys[key]) if stacked else entries
        optimizer.state[keys.get(key, key)] = own
    for group, values in zip(optimizer.param_groups, trees[0]["groups"], strict=True):
        group.update(values)
    for name, value in trees[0]["attributes"].items():
        setattr(optimizer, name, value)
    for name, one in _inner(optimizer).items():
        restore_optimizer(one, [trees[0]["inner"][name]])


def scheduler_tree(scheduler: Any) -> Tree:
    """The state of an lr_scheduler, without what its construction brings; None of none."""
    return None if scheduler is None else _plain(scheduler.state_dict())


def _of_row(entries: dict[str, Any], p: Tensor, row: int) -> dict[str, Any]:
    return {name: entry_of_row(name, value, p, row) for name, value in entries.items()}


def _of_rows(entries: Sequence[dict[str, Any]], p: Tensor) -> dict[str, Any]:
    return {name: entry_of_rows(name, [each[name] for each in entries], p) for name in entries[0]}


def _speaks_for_itself(optimizer: torch.optim.Optimizer) -> bool:
    """Whether its class says itself what its state is."""
    kind, base = type(optimizer), torch.optim.Optimizer
    return kind.state_dict is not base.state_dict and kind.load_state_dict is not base.load_state_dict


def _places(optimizer: torch.optim.Optimizer) -> dict[Tensor, int]:
    """The number of every parameter."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return {p: number for number, p in enumerate(parameters)}


def _attributes(optimizer: torch.optim.Optimizer) -> dict[str, Tree]:
    """Of the optimizers of others, what they have beside what every optimizer has."""
    if type(optimizer).__module__.split(".")[0] in COMPLETE:
        return {}
    return _plain({name: value for name, value in vars(optimizer).items() if name not in _usual_attributes()})


def _inner(optimizer: torch.optim.Optimizer) -> dict[str, torch.optim.Optimizer]:
    """Optimizers that this one steps."""
    return {name: one for name, one in vars(optimizer).items() if isinstance(one, torch.optim.Optimizer)}


def _plain(values: dict[str, Any]) -> dict[str, Tree]:
    return {name: value for name, value in values.items() if is_tree(value)}


@cache
def _usual_attributes() -> frozenset[str]:
    return frozenset(vars(torch.optim.SGD([torch.zeros(1)], lr=1.0)))
