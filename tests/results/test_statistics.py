"""Statistics over seeds against scipy's own tests, and where those have no answer."""

import math
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import stats

from gossipsim.results import compare, summarize


@dataclass
class Sample:
    of_seeds: dict[int, float]

    def values(self, metric: str) -> dict[int, float]:
        return self.of_seeds if metric == "m" else {}


def sample(*values: float, first: int = 0) -> Sample:
    return Sample({first + k: value for k, value in enumerate(values)})


def draws(n: int, *, scale: float = 1.0, seed: int = 0) -> list[float]:
    return list(np.random.default_rng(seed).normal(5, scale, n))


@pytest.mark.parametrize("n", [2, 3, 10])
def test_interval_is_that_of_students_t(n: int) -> None:
    values = draws(n)
    found = summarize(values)
    assert found is not None
    low, high = stats.t.interval(0.95, n - 1, loc=np.mean(values), scale=stats.sem(values))
    assert found.n == n
    assert found.ci95 == pytest.approx((high - low) / 2, rel=1e-9)
    assert found.std == pytest.approx(np.std(values, ddof=1), rel=1e-12)


def test_summary_of_little_and_of_nonsense() -> None:
    assert summarize([]) is None
    assert summarize([2.0, 2.0, 2.0]) == summarize(iter([2.0] * 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for values in ([1.0, math.nan], [1.0, math.inf], [math.inf, -math.inf]):
            found = summarize(values)
            assert found is not None
            assert not math.isfinite(found.mean)
            assert found.ci95 is not None
            assert math.isnan(found.ci95)


def test_shared_seeds_are_paired() -> None:
    a, b = draws(4), draws(6, seed=1)
    found = compare(sample(*a), sample(*b), "m")
    assert found is not None
    wanted = stats.ttest_rel(a, b[:4])
    assert (found.n, found.paired) == (4, True)
    assert found.p == pytest.approx(wanted.pvalue, rel=1e-9)
    assert found.difference == pytest.approx(np.mean(a) - np.mean(b[:4]))
    interval = wanted.confidence_interval(0.95)
    assert (found.low, found.high) == (pytest.approx(interval.low), pytest.approx(interval.high))


def test_other_seeds_by_welch() -> None:
    a, b = draws(3, scale=0.1), draws(7, scale=3.0, seed=1)
    found = compare(sample(*a), sample(*b, first=10), "m")
    assert found is not None
    wanted = stats.ttest_ind(a, b, equal_var=False)
    interval = wanted.confidence_interval(0.95)
    assert (found.n, found.paired) == (3, False)
    assert found.p == pytest.approx(wanted.pvalue, rel=1e-9)
    assert (found.low, found.high) == (pytest.approx(interval.low), pytest.approx(interval.high))


@pytest.mark.parametrize("first", [0, 10])  # paired, and not
def test_where_nothing_varies_the_difference_is_certain(first: int) -> None:
    same = compare(sample(2.0, 2.0), sample(2.0, 2.0, first=first), "m")
    assert same is not None
    assert (same.p, same.low, same.high, same.undecided) == (1.0, 0.0, 0.0, True)
    apart = compare(sample(3.0, 3.0), sample(2.0, 2.0, first=first), "m")
    assert apart is not None
    assert (apart.p, apart.low, apart.high, apart.undecided) == (0.0, 1.0, 1.0, False)


@pytest.mark.parametrize(("a", "b"), [((1.0,), (3.0,)), ((1.0, 1.5), (3.0,))])
def test_one_seed_has_a_difference_and_no_interval(a: tuple[float, ...], b: tuple[float, ...]) -> None:
    found = compare(sample(*a), sample(*b), "m")
    assert found is not None
    assert found.difference == pytest.approx(np.mean(a) - 3.0)
    assert (found.low, found.high, found.p, found.undecided) == (None, None, None, False)


def test_nothing_is_said_of_what_is_not_finite_or_not_there() -> None:
    assert compare(sample(1.0, math.nan), sample(1.0, 2.0), "m") is None
    assert compare(sample(1.0, 2.0), sample(1.0, math.inf), "m") is None
    assert compare(sample(1.0, 2.0), sample(1.0, 2.0), "other") is None


def test_errors_that_are_all_tiny_are_compared_too() -> None:
    a, b = [1e-170 * (1 + k / 10) for k in range(3)], [3e-170 * (1 + k / 7) for k in range(3)]
    found = compare(sample(*a), sample(*b, first=5), "m")
    assert found is not None
    assert found.low is not None
    assert found.low <= found.difference < 0
