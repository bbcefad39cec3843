"""Laws that every feasible set obeys: the oracle is tight and feasible, the projection is nearest and keeps bits."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

DTYPES = st.sampled_from([torch.float32, torch.float64])
KIND = st.sampled_from(["normal", "zero", "one-hot", "tied", "huge", "tiny", "sparse"])
RADIUS = st.floats(1e-2, 50)
SEED = st.integers(0, 1000)
CASES = {"kind": KIND, "where": st.integers(0, 5), "dtype": DTYPES, "radius": RADIUS, "seed": SEED}


def eps(dtype):
    return torch.finfo(dtype).eps


def chosen(subject, where):
    return subject.shapes[where % len(subject.shapes)]


@settings(max_examples=20, deadline=None)
@given(**CASES)
def test_oracle_is_tight_and_feasible(subject, draw, kind, where, dtype, radius, seed):
    one, shape = subject.scaled(radius), chosen(subject, where)
    g = draw(kind, shape, dtype, seed)
    before = g.clone()
    v = one.lmo(g)
    assert (v.shape, v.dtype, v.device) == (g.shape, g.dtype, g.device)
    assert g.equal(before)
    assert one.contains(v, tol=16 * eps(dtype) * subject.magnitude(radius, shape))
    terms, best = g.double() * v.double(), float(one.support(-g))
    size = max(float(terms.abs().sum()), abs(best))
    assert abs(float(terms.sum()) + best) <= (32 * eps(dtype) + subject.loss) * size
    if subject.symmetric:
        assert best == pytest.approx(float(one.support(g)), rel=4 * eps(dtype))


@settings(max_examples=8, deadline=None)
@given(**CASES)
def test_oracle_beats_other_points(subject, draw, kind, where, dtype, radius, seed):
    one, shape = subject.scaled(radius), chosen(subject, where)
    g = draw(kind, shape, torch.float64, seed)
    v = one.lmo(g)
    best, size = float((g * v).sum()), float((g * v).abs().sum())
    for other in range(3):
        point = one.project(3 * radius * draw("normal", shape, torch.float64, seed + other + 1))
        value = float((g * point).sum())
        assert value >= best - (1e-12 + subject.loss) * max(size, abs(value))


@settings(max_examples=20, deadline=None)
@given(**CASES)
def test_projection(subject, draw, kind, where, dtype, radius, seed):
    one, shape = subject.scaled(radius), chosen(subject, where)
    x = 2 * radius * draw(kind, shape, dtype, seed)
    before = x.clone()
    p = one.project(x)
    assert (p.shape, p.dtype) == (x.shape, x.dtype)
    assert x.equal(before)
    assert p.data_ptr() != x.data_ptr()
    size = subject.magnitude(radius, shape)
    assert one.contains(p, tol=16 * eps(dtype) * size)
    assert one.project(p).equal(p)
    if kind != "huge" and dtype == torch.float64:
        # <x - p, z - p> <= 0 for all z of the set; the worst z is the oracle's answer
        residual = x - p
        gap = float(one.support(residual) - (residual * p).sum())
        scale = float((residual * p).abs().sum()) + float(residual.norm()) * size
        assert abs(gap) <= 1e-12 * scale * max(1.0, float(x.norm()) / size)


@settings(max_examples=10, deadline=None)
@given(**CASES)
def test_feasible_points_stay_to_the_bit(subject, draw, kind, where, dtype, radius, seed):
    one, shape = subject.scaled(radius), chosen(subject, where)
    vertices = [one.lmo(draw("normal", shape, dtype, seed + k)) for k in range(4)]
    inside = torch.stack(vertices).mean(0)  # up to rounding
    if subject.symmetric:
        inside *= 0.999
    assert one.project(inside).equal(inside)


def test_not_a_number_is_not_hidden(subject, draw):
    for shape in subject.shapes:
        for dtype in (torch.float32, torch.float64):
            g = draw("normal", shape, dtype, 0)
            g.view(-1)[g.numel() // 2] = math.nan
            assert subject.constraint.lmo(g).isnan().any()
            assert math.isnan(float(subject.constraint.support(g)))
            assert math.isnan(subject.constraint.violation(g))
            assert not subject.constraint.contains(g, tol=1e9)
            assert subject.constraint.project(g).isnan().any()


def test_diameter_is_attained_and_not_exceeded(subject, draw):
    for shape in subject.shapes:
        if math.prod(shape) > 100:
            continue
        one, largest = subject.scaled(1.5), 0.0
        starts = [draw(kind, shape, torch.float64, seed) for kind in ("normal", "tied", "one-hot") for seed in range(6)]
        for start in starts:
            direction, reached = start, 0.0
            for _ in range(60):  # to the farthest points in the direction of the last two
                a, b = one.lmo(-direction), one.lmo(direction)
                before, reached = reached, float((a - b).norm())
                direction = a - b
                if reached <= before * (1 + 1e-12):
                    break
            largest = max(largest, reached)
        assert largest == pytest.approx(one.diameter(shape), rel=1e-9, abs=1e-15)


def test_any_strides(subject, draw):
    """Transposed and expanded gradients have no single stride."""
    for shape in subject.shapes:
        g = draw("normal", shape, torch.float64, 3)
        apart = torch.stack([g, g], dim=-1)[..., 0]
        assert torch.allclose(subject.constraint.lmo(apart), subject.constraint.lmo(g), rtol=1e-9, atol=1e-13)
        assert torch.allclose(subject.constraint.project(3 * apart), subject.constraint.project(3 * g), atol=1e-13)


def test_deterministic_and_without_random_numbers(subject, draw):
    g = draw("normal", subject.shapes[-1], torch.float32, 5)
    stream = torch.get_rng_state()
    first, again = subject.constraint.lmo(g), copy.deepcopy(subject.constraint).lmo(g)
    assert first.equal(again)
    assert torch.get_rng_state().equal(stream)


def test_copies_are_equal(subject):
    one = subject.constraint
    one.lmo(torch.ones(subject.shapes[-1]))  # what it keeps for later does not count
    assert pickle.loads(pickle.dumps(one)) == one
    assert copy.deepcopy(one) == one
    assert hash(copy.deepcopy(one)) == hash(one)
    assert subject.scaled(7.0) == subject.scaled(7.0)


def test_parameters_can_be_projected_as_they_are(subject, draw):
    x = draw("normal", subject.shapes[-1], torch.float64, 0).requires_grad_()
    assert math.isfinite(subject.constraint.violation(x))
    nearest = subject.constraint.project(10 * x)
    assert not nearest.requires_grad
    assert not subject.constraint.project(nearest.requires_grad_()).requires_grad
