"""A state as a tree, and a tree as text and bytes, so that it can be sent and stored without pickle.

    tree        nested dicts, lists and tuples of tensors, arrays, numbers, texts, True, False and None
    skeleton    what is where, as JSON: the same for trees that differ in their numbers only
    row         the bytes of all numbers, one after the other

The nodes' trees, padded to the longest, make rows that :class:`~gossipsim.world.World` can bring from anywhere.
"""

from __future__ import annotations

import functools
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gossipsim.world import World

Tree = Any
CPU = torch.device("cpu")

LARGEST_INTEGER = (1 << 63) - 1


class Unsaveable(TypeError):
    """A state has something in it that is neither numbers nor text."""


def is_tree(value: Any) -> bool:
    """Whether :func:`flatten` takes it.

    >>> is_tree({"lr": 0.1, "betas": (0.9, 0.99)}), is_tree([print])
    (True, False)
    """
    try:
        _skeleton(value, [], ())
    except Unsaveable:
        return False
    return True


def flatten(tree: Tree) -> tuple[str, list[torch.Tensor]]:
    """The skeleton of a tree, and its numbers in the order in which they stand there.

    Raises:
        Unsaveable: naming what cannot be stored and where it is.
    """
    numbers: list[torch.Tensor] = []
    return json.dumps(_skeleton(tree, numbers, ()), separators=(",", ":")), numbers


def unflatten(skeleton: str, row: torch.Tensor, device: torch.device) -> Tree:
    """The tree with this skeleton and these bytes, in memory of its own.

    Args:
        device: of the tensors that were on an accelerator.
    """
    offset = 0

    def take(dtype: torch.dtype, shape: Sequence[int]) -> torch.Tensor:
        nonlocal offset
        nbytes = math.prod(shape) * dtype.itemsize
        values = row[offset : offset + nbytes].clone().view(dtype).view(tuple(shape))
        offset += nbytes
        return values

    def grow(part: list[Any]) -> Tree:
        kind, *rest = part
        if kind == "tensor":
            dtype, shape, accelerated = rest
            values = take(getattr(torch, dtype), shape)
            return values.to(device) if accelerated else values
        if kind == "array":
            return take(getattr(torch, rest[0]), rest[1]).numpy()
        if kind in _NUMBERS:
            return take(_NUMBERS[kind], ()).item()
        if kind in ("dict", "counter"):
            pairs = {key: grow(value) for key, value in rest[0]}
            return Counter(pairs) if kind == "counter" else pairs
        if kind in ("list", "tuple"):
            parts = [grow(value) for value in rest[0]]
            return tuple(parts) if kind == "tuple" else parts
        return rest[0]

    return grow(_parsed(skeleton))


_NUMBERS = {"float": torch.float64, "int": torch.int64}


@functools.lru_cache(maxsize=256)
def _parsed(skeleton: str) -> list[Any]:
    parsed: list[Any] = json.loads(skeleton)
    return parsed


def _skeleton(tree: Tree, numbers: list[torch.Tensor], place: tuple[int | str, ...]) -> list[Any]:  # noqa: PLR0911  one per kind
    if isinstance(tree, np.generic):
        tree = tree.item()
    if tree is None or isinstance(tree, bool | str):
        return ["value", tree]
    if isinstance(tree, int | float):
        if isinstance(tree, int) and abs(tree) > LARGEST_INTEGER:
            return ["value", int(tree)]
        kind = "int" if isinstance(tree, int) else "float"
        numbers.append(torch.tensor(tree, dtype=_NUMBERS[kind]))
        return [kind]
    if type(tree) is torch.Tensor and tree.layout is torch.strided:
        numbers.append(tree.detach())
        return ["tensor", str(tree.dtype).removeprefix("torch."), list(tree.shape), tree.device.type != "cpu"]
    if type(tree) is np.ndarray and tree.dtype.kind in "biufc":
        numbers.append(torch.from_numpy(tree))
        return ["array", str(numbers[-1].dtype).removeprefix("torch."), list(tree.shape)]
    if type(tree) in (dict, Counter) and all(type(key) in (str, int) for key in tree):
        pairs = [[key, _skeleton(value, numbers, (*place, key))] for key, value in tree.items()]
        return ["dict" if type(tree) is dict else "counter", pairs]
    if type(tree) in (list, tuple):
        parts = [_skeleton(value, numbers, (*place, k)) for k, value in enumerate(tree)]
        return [type(tree).__name__, parts]
    where = "".join(f"[{key!r}]" for key in place)
    raise Unsaveable(f"state{where} is a {type(tree).__name__}, which is neither numbers nor text")


@dataclass(frozen=True)
class Packed:
    """Trees as rows.

    Attributes:
        skeletons: the different ones. which: (n, 1) int64, that of each tree. rows: (n, width) uint8.
    """

    skeletons: list[str]
    which: torch.Tensor
    rows: torch.Tensor

    @classmethod
    def of(cls, trees: Sequence[Tree]) -> Packed:
        """
        Raises:
            Unsaveable: for a tree that :func:`flatten` does not take.
        """
        flat = [flatten(tree) for tree in trees]
        places: dict[str, int] = {}
        which = [places.setdefault(skeleton, len(places)) for skeleton, _ in flat]
        width = max((sum(one.nbytes for one in numbers) for _, numbers in flat), default=0)
        rows = torch.zeros(len(flat), width, dtype=torch.uint8)
        for row, (_, numbers) in zip(rows, flat, strict=True):
            for at, values in zip(_places(numbers), numbers, strict=True):
                row[at].copy_(values.cpu().contiguous().reshape(-1).view(torch.uint8))
        return cls(list(places), torch.tensor(which, dtype=torch.int64).reshape(-1, 1), rows)

    def trees(self, device: torch.device = CPU) -> list[Tree]:
        """The trees again, with tensors on `device` that were on an accelerator."""
        return [
            unflatten(self.skeletons[number], row, device)
            for number, row in zip(self.which.flatten().tolist(), self.rows, strict=True)
        ]


def _places(numbers: Sequence[torch.Tensor]) -> Iterator[slice]:
    """Where the bytes of each tensor stand in a row."""
    offset = 0
    for values in numbers:
        yield slice(offset, offset + values.nbytes)
        offset += values.nbytes


def collect(world: World, trees: Sequence[Tree]) -> Packed | None:
    """The trees of all N nodes on rank 0, from those of the hosted nodes; None elsewhere. All processes come here.

    Raises:
        Unsaveable: on every process, where a tree of any of them cannot be stored.
    """
    problem, packed = "", Packed([], torch.empty(0, 1, dtype=torch.int64), torch.empty(0, 0, dtype=torch.uint8))
    try:
        packed = Packed.of(trees)
    except Unsaveable as error:
        problem = str(error)
    said = world.texts(json.dumps([problem, packed.rows.shape[1], packed.skeletons]))
    everyone: list[tuple[str, int, list[str]]] = [tuple(json.loads(text)) for text in said]
    if problems := [problem for problem, _, _ in everyone if problem]:
        raise Unsaveable(problems[0])
    skeletons = list(dict.fromkeys(skeleton for _, _, theirs in everyone for skeleton in theirs))
    width = max(width for _, width, _ in everyone)
    places = torch.tensor([skeletons.index(skeleton) for skeleton in packed.skeletons], dtype=torch.int64)
    which = world.collect(places[packed.which])
    rows = packed.rows
    if rows.shape[1] < width:
        rows = torch.nn.functional.pad(rows, (0, width - rows.shape[1]))
    collected = world.collect(rows)
    return None if which is None or collected is None else Packed(skeletons, which, collected)


def spread(world: World, packed: Packed | None) -> Tree:
    """The one tree that rank 0 has, on every process. All processes come here."""
    told = [] if packed is None else [packed.rows.shape[1], packed.skeletons]
    width, (skeleton,) = json.loads(world.say(json.dumps(told)))
    row = torch.empty(width, dtype=torch.uint8) if packed is None else packed.rows[0]
    world.transport.broadcast(row, 0)
    return unflatten(skeleton, row, world.device)


def deal(world: World, packed: Packed | None) -> list[Tree]:
    """The trees of the hosted nodes, from those of all N, which rank 0 has. All processes come here."""
    told = [] if packed is None else [packed.rows.shape[1], packed.skeletons]
    width, skeletons = json.loads(world.say(json.dumps(told)))
    which = world.deal(None if packed is None else packed.which, torch.empty(1, dtype=torch.int64))
    rows = world.deal(None if packed is None else packed.rows, torch.empty(width, dtype=torch.uint8))
    return Packed(skeletons, which, rows).trees(world.device)
