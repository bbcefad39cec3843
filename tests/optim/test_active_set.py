"""Active sets: weights, atoms that leave, directions."""

import pytest
import torch

from gossipsim.optim.active_set import ActiveSet, Turn, turn_to

ATOMS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
WEIGHTS = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)


def fresh():
    return ActiveSet(ATOMS.clone(), WEIGHTS.clone())


@pytest.mark.parametrize("turn", [Turn(1, None, 0.0), Turn(None, 1, 0.0), Turn(2, 0, 0.0)])
def test_a_shift_moves_x_along_the_direction(turn):
    active = fresh()
    x = active.point()
    d, gamma = active.direction(turn, x), 0.4 * active.gamma_max(turn)
    active.shift(turn, gamma)
    assert len(active.atoms) == 3
    assert (active.point() - (x + gamma * d)).abs().max() < 1e-15
    assert active.weights.sum().item() == pytest.approx(1, abs=1e-15)


def test_the_largest_steps():
    active = fresh()
    assert active.gamma_max(Turn(1, None, 0.0)) == 1
    assert active.gamma_max(Turn(None, 0, 0.0)) == pytest.approx(0.5 / 0.5)
    assert active.gamma_max(Turn(None, 1, 0.0)) == pytest.approx(0.3 / 0.7)
    assert active.gamma_max(Turn(2, 1, 0.0)) == 0.3


@pytest.mark.parametrize(
    ("turn", "left"), [(Turn(None, 1, 0.0), [0, 2]), (Turn(2, 1, 0.0), [0, 2]), (Turn(1, None, 0.0), [1])]
)
def test_atoms_leave_at_the_largest_step(turn, left):
    active = fresh()
    x = active.point()
    expected = x + active.gamma_max(turn) * active.direction(turn, x)
    active.shift(turn, active.gamma_max(turn))
    assert active.atoms.equal(ATOMS[left])
    assert (active.weights > 0).all()
    assert (active.point() - expected).abs().max() < 1e-15


def test_they_leave_whatever_the_rounding():
    stream = torch.Generator().manual_seed(0)
    for _ in range(50):
        weights = torch.rand(3, dtype=torch.float64, generator=stream)
        active = ActiveSet(ATOMS.clone(), weights / weights.sum())
        active.shift(Turn(None, 1, 0.0), active.gamma_max(Turn(None, 1, 0.0)))
        assert active.atoms.equal(ATOMS[[0, 2]])


def test_a_full_step_is_the_vertex_to_the_bit():
    active = fresh()
    v = torch.tensor([0.1, -0.7], dtype=torch.float64)
    active.shift(Turn(active.add(v), None, 0.0), 1.0)
    assert active.point().equal(v)


def test_no_weight_moves_from_an_atom_to_itself():
    active = fresh()
    active.shift(Turn(1, 1, 0.0), 0.3)
    assert (active.weights - WEIGHTS).abs().max() < 1e-16


def test_adding():
    active = fresh()
    assert active.add(ATOMS[1] + 0.0) == 1
    assert active.add(torch.tensor([0.0, -1.0], dtype=torch.float64)) == 3
    assert active.weights.tolist() == [0.5, 0.3, 0.2, 0.0]
    active.shift(Turn(1, None, 0.0), 0.1)  # does not use it
    assert len(active.atoms) == 3


def test_it_is_found_again_only_where_x_did_not_move():
    active, memory = fresh(), {}
    x = active.point()
    active.keep(x, memory)
    assert ActiveSet.at(x.clone(), memory).atoms.equal(ATOMS)
    moved = x.clone()
    moved[0] = torch.nextafter(moved[0], torch.tensor(9.0, dtype=torch.float64))
    again = ActiveSet.at(moved, memory)
    assert again.atoms.equal(moved[None])
    assert again.weights.tolist() == [1.0]
    assert again.point().equal(moved)
    assert ActiveSet.at(torch.zeros(3), memory).atoms.shape == (1, 3)


@pytest.mark.parametrize(
    ("variant", "at_v", "turn"),
    [
        ("vanilla", -2.0, Turn(7, None, 2.5)),
        ("away", -2.0, Turn(7, None, 2.5)),
        ("away", 0.2, Turn(None, 1, 2.5)),
        ("pairwise", -2.0, Turn(7, 1, 5.0)),
        ("blended_pairwise", -2.0, Turn(0, 1, 4.0)),
        ("blended_pairwise", -3.6, Turn(7, None, 4.1)),
    ],
)
def test_directions_of_the_variants(variant, at_v, turn):
    at_atoms = torch.tensor([-1.0, 3.0, 0.0], dtype=torch.float64)
    assert turn_to(variant, 0.5, (7, at_v), at_atoms) == turn


def test_nan_is_not_dropped():
    active = fresh()
    active.shift(Turn(1, None, 0.0), float("nan"))
    assert active.point().isnan().all()
