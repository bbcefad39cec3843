"""Trees become text and bytes and come back, also from and to other numbers of processes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gossipsim.checkpoints import Packed, Tree, Unsaveable, collect, deal, spread
from gossipsim.world import World
from gossipsim.world.transport import Transport
from tests.world.test_world import on_ranks

NODES = 5

TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.integers(0, 9), inner, max_size=3)
    ),
    max_leaves=8,
)


def same(a: Tree, b: Tree) -> bool:
    """Equal in kind, type, shape and bits."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor | np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


@given(st.lists(TREES, max_size=4))
def test_trees_come_back(trees: list[Tree]) -> None:
    assert same(Packed.of(trees).trees(), trees)


def test_tensors_come_back_in_memory_of_their_own() -> None:
    dtypes = (torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool, torch.complex64)
    tensors = [torch.ones(3, 2, dtype=dtype).t() for dtype in dtypes]
    tree = {"x": [*tensors, torch.tensor(3.0), torch.empty(0, 4)], "n": np.arange(4.0), "c": Counter({3: 1, 7: 2})}
    (found,) = Packed.of([tree]).trees()
    assert same(found, tree)
    found["x"][0].zero_()
    assert tensors[0].all()


def test_equal_structures_share_a_skeleton() -> None:
    packed = Packed.of([{"lr": 0.1 * k, "momentum": torch.full((3,), float(k))} for k in range(NODES)])
    assert len(packed.skeletons) == 1
    assert packed.rows.shape == (NODES, 8 + 12)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"momentum": [torch.ones(2), print]}, r"state\['momentum'\]\[1\] is a builtin_function_or_method"),
        ({"p": torch.nn.Parameter(torch.ones(2))}, "a Parameter"),
        ({(1, 2): 0.0}, "state is a dict"),
    ],
)
def test_what_cannot_be_stored_is_named(tree: Tree, message: str) -> None:
    with pytest.raises(Unsaveable, match=message):
        Packed.of([tree])


def _tree_of(node: int) -> Tree:
    """Different nodes have states of different structure and size."""
    values = {"x": torch.arange(4.0) + node, "step": node}
    return values | ({"history": [torch.ones(node)]} if node % 2 else {})


@pytest.mark.parametrize("write", [1, 2, 7])
@pytest.mark.parametrize("read", [1, 3, 7])
def test_any_number_of_processes_reads_what_another_has_written(write: int, read: int, way: str) -> None:
    def writes(transport: Transport) -> Any:
        world = World(NODES, transport)
        packed = collect(world, [_tree_of(node) for node in world.hosted])
        assert (packed is None) == (world.rank > 0)
        return packed and [packed.skeletons, packed.which.tolist(), packed.rows.tolist()]

    skeletons, which, rows = on_ranks(write, writes)[0]
    packed = Packed(skeletons, torch.tensor(which), torch.tensor(rows, dtype=torch.uint8))
    assert same(packed.trees(), [_tree_of(node) for node in range(NODES)])

    def reads(transport: Transport) -> Any:
        world = World(NODES, transport)
        shared = spread(world, Packed.of([{"step": torch.ones(3)}]) if world.rank == 0 else None)
        trees = deal(world, packed if world.rank == 0 else None)
        return same(trees, [_tree_of(node) for node in world.hosted]) and same(shared, {"step": torch.ones(3)})

    assert on_ranks(read, reads) == [True] * read


def test_all_processes_hear_of_a_state_that_cannot_be_stored() -> None:
    def writes(transport: Transport) -> Any:
        world = World(NODES, transport)
        try:
            collect(world, [{"x": print if node == 4 else 1.0} for node in world.hosted])
        except Unsaveable as error:
            return str(error)
        return None

    (message,) = set(on_ranks(3, writes))
    assert message.startswith("state['x'] is a builtin_function_or_method")
