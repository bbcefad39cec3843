"""Statistics over seeds: mean, standard deviation, confidence interval, and how far two cells are apart.

With n values, mean m and standard deviation s (n - 1), the 95% confidence interval is m ± t s/√n, where t is the 97.5%
quantile of Student's distribution with n - 1 degrees of freedom. Two cells that share seeds are compared by the
differences seed by seed (paired t-test): what a seed does to both of them cancels. Others are compared with Welch's
t-test, which does not take their variances to be equal. One value has neither a deviation nor an interval.

Source: Welch, "The generalization of Student's problem when several different population variances are involved",
Biometrika 34, 1947.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """``std`` is with n - 1, ``ci95`` half the width of the confidence interval; both None for one value."""

    n: int
    mean: float
    std: float | None
    ci95: float | None


@dataclass(frozen=True)
class Comparison:
    """How far one cell is above another.

    Attributes:
        n: pairs, or the values of the smaller cell.
        difference: mean of the first minus mean of the second, over the shared seeds where they are paired.
        low, high: 95% confidence interval of the difference; None where there are too few seeds for one.
        p: two-sided p-value of "no difference".
        paired: by seed; else Welch's test.
    """

    n: int
    difference: float
    low: float | None
    high: float | None
    p: float | None
    paired: bool

    @property
    def undecided(self) -> bool:
        """Whether the interval holds 0; False where there is no interval, for then nothing is known."""
        return self.low is not None and self.high is not None and self.low <= 0 <= self.high


class Sample(Protocol):
    """What is compared: a :class:`gossipsim.results.Cell`, say."""

    def values(self, metric: str) -> Mapping[int, float]:
        """The value of each seed."""
        ...


def summarize(values: Iterable[float]) -> Summary | None:
    """Mean, deviation and interval; None of nothing. NaN and infinities are not hidden: they show in the mean.

    >>> summarize([1.0, 2.0, 3.0])
    Summary(n=3, mean=2.0, std=1.0, ci95=2.4841377117503303)
    >>> summarize([5.0])
    Summary(n=1, mean=5.0, std=None, ci95=None)
    """
    sample = np.array(list(values), dtype=float)
    if not sample.size:
        return None
    with np.errstate(invalid="ignore"):  # inf - inf
        mean = float(sample.mean())
    if sample.size == 1:
        return Summary(1, mean, None, None)
    if not math.isfinite(mean):
        return Summary(sample.size, mean, math.nan, math.nan)
    std = float(sample.std(ddof=1))
    return Summary(sample.size, mean, std, _quantile(sample.size - 1) * std / math.sqrt(sample.size))


def compare(a: Sample, b: Sample, metric: str) -> Comparison | None:
    """`a` minus `b`: paired over the seeds that both have, if those are at least two, else by Welch's test.

    None where one of them has no value, or one that is not finite. Where nothing varies the difference is certain:
    p is 1 if there is none, and 0 otherwise.
    """
    of_a, of_b = a.values(metric), b.values(metric)
    if not of_a or not of_b or not all(map(math.isfinite, [*of_a.values(), *of_b.values()])):
        return None
    shared = [seed for seed in of_a if seed in of_b]
    if len(shared) >= 2 or len(shared) == len(of_a) == len(of_b):
        differences = np.array([of_a[seed] - of_b[seed] for seed in shared])
        error = float(differences.std(ddof=1)) / math.sqrt(len(shared)) if len(shared) > 1 else math.nan
        return _compared(len(shared), float(differences.mean()), error, len(shared) - 1, paired=True)
    first, second = np.array(list(of_a.values())), np.array(list(of_b.values()))
    difference, n = float(first.mean() - second.mean()), min(first.size, second.size)
    if n < 2:
        return _compared(n, difference, math.nan, 0, paired=False)
    squares = [float(sample.var(ddof=1)) / sample.size for sample in (first, second)]
    total = sum(squares)
    share = squares[0] / total if total > 0 else 0.0
    freedom = 1 / (share**2 / (first.size - 1) + (1 - share) ** 2 / (second.size - 1))
    return _compared(n, difference, math.sqrt(total), freedom, paired=False)


def _compared(n: int, difference: float, error: float, freedom: float, *, paired: bool) -> Comparison:
    """The t-test of a difference with its standard error."""
    if math.isnan(error):
        return Comparison(n, difference, None, None, None, paired)
    if error == 0:
        return Comparison(n, difference, difference, difference, 1.0 if difference == 0 else 0.0, paired)
    half = _quantile(freedom) * error
    return Comparison(n, difference, difference - half, difference + half, _p(difference / error, freedom), paired)


def _quantile(freedom: float) -> float:
    """Of Student's distribution: what a value exceeds in absolute terms in 5% of cases."""
    from scipy import special  # imported in a third of the time that scipy.stats takes

    return float(special.stdtrit(freedom, (1 + CONFIDENCE) / 2))


def _p(t: float, freedom: float) -> float:
    from scipy import special

    return float(2 * special.stdtr(freedom, -abs(t)))
