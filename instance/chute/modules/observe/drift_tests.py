"""The tests behind drift: two samples of numbers, of rates, of categories, of vectors; and many tests at once."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from math import asin, erfc, exp, sqrt
from statistics import fmean, variance
from typing import Any, NamedTuple

EFFECT_MAX = 99.0
"""In place of an infinite effect."""
PERMUTATIONS = 4999
CATEGORIES_MAX = 20


class Tested(NamedTuple):
    """The outcome of one test: how likely the difference is by chance, and how large it is (Cohen's d or h)."""

    p: float
    effect: float


def numbers(before: Sequence[float], now: Sequence[float]) -> Tested:
    """Kolmogorov-Smirnov of two samples, by the asymptotic distribution with Stephens' correction; effect: Cohen's d."""
    n, m = len(before), len(now)
    first, second = sorted(before), sorted(now)
    distance = max(abs(bisect_right(first, value) / n - bisect_right(second, value) / m) for value in {*first, *second})
    root = sqrt(n * m / (n + m))
    return Tested(_kolmogorov((root + 0.12 + 0.11 / root) * distance), cohen_d(before, now))


def _kolmogorov(value: float) -> float:
    """Probability that a Kolmogorov-distributed variable is above the value (Kolmogorov 1933)."""
    if value < 0.2:
        return 1.0
    terms = ((2.0 if k % 2 else -2.0) * exp(-2.0 * k * k * value * value) for k in range(1, 101))
    return min(1.0, max(0.0, sum(terms)))


def cohen_d(before: Sequence[float], now: Sequence[float]) -> float:
    """The difference of the means in pooled standard deviations (Cohen 1988)."""
    n, m = len(before), len(now)
    difference = fmean(now) - fmean(before)
    pooled = sqrt(((n - 1) * variance(before) + (m - 1) * variance(now)) / (n + m - 2))
    if pooled == 0:
        return 0.0 if difference == 0 else EFFECT_MAX if difference > 0 else -EFFECT_MAX
    return max(-EFFECT_MAX, min(EFFECT_MAX, difference / pooled))


def rates(before: int, of_before: int, now: int, of_now: int) -> Tested:
    """Two-proportion z test; effect: Cohen's h."""
    first, second = before / of_before, now / of_now
    effect = 2 * asin(sqrt(second)) - 2 * asin(sqrt(first))
    pooled = (before + now) / (of_before + of_now)
    if pooled in (0.0, 1.0):
        return Tested(1.0, 0.0)
    z = (second - first) / sqrt(pooled * (1 - pooled) * (1 / of_before + 1 / of_now))
    return Tested(erfc(abs(z) / sqrt(2)), effect)


def categories(before: Sequence[str], now: Sequence[str]) -> Tested:
    """The rate of each category, corrected for their number (Bonferroni); effect: that of the most significant."""
    first, second = Counter(before), Counter(now)
    names = [name for name, _ in (first + second).most_common(CATEGORIES_MAX)]
    if len(names) < 2:
        return Tested(1.0, 0.0)
    found = min(
        (rates(first[name], len(before), second[name], len(now)) for name in names),
        key=lambda tested: (tested.p, -abs(tested.effect)),
    )
    tests = 1 if len(names) == 2 else len(names)  # of two categories one is the other's complement
    return Tested(min(1.0, found.p * tests), found.effect)


def vectors(before: Any, now: Any, seed: int = 0) -> Tested:
    """The distance of the means of two sets of vectors (float[n, d]) against random divisions of both together.

    The effect is the distance in standard deviations of the points about their means, corrected for what chance adds.
    """
    import numpy as np

    n, m = len(before), len(now)
    points = np.concatenate([before, now]).astype(np.float32)
    points -= points.mean(axis=0)
    distance = float(np.sum((points[:n].mean(axis=0) - points[n:].mean(axis=0)) ** 2))
    # The points' inner products are all that a division needs: |mean(A) - mean(B)|² = w'Gw with w = 1/n on A and -1/m on B.
    products = points @ points.T
    weights = np.concatenate([np.full(n, 1 / n), np.full(m, -1 / m)]).astype(np.float32)
    random = np.random.default_rng(seed)
    at_least = 0
    for start in range(0, PERMUTATIONS, 500):
        count = min(500, PERMUTATIONS - start)
        divided = random.permuted(np.tile(weights, (count, 1)), axis=1)
        distances = np.einsum("ij,ij->i", divided @ products, divided)
        at_least += int(np.sum(distances >= distance * (1 - 1e-6)))
    within = float(np.sum(points[:n].var(axis=0)) * n + np.sum(points[n:].var(axis=0)) * m) / (n + m)
    if within <= 0:
        return Tested((1 + at_least) / (1 + PERMUTATIONS), EFFECT_MAX if distance > 0 else 0.0)
    effect = sqrt(max(0.0, distance / within - (1 / n + 1 / m)))
    return Tested((1 + at_least) / (1 + PERMUTATIONS), min(EFFECT_MAX, effect))


def q_values(p_values: Sequence[float]) -> list[float]:
    """The q value of each test (Benjamini, Hochberg 1995): the lowest false discovery rate at which it is significant."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    found, lowest = [1.0] * len(p_values), 1.0
    for rank in range(len(order), 0, -1):
        place = order[rank - 1]
        lowest = min(lowest, p_values[place] * len(p_values) / rank)
        found[place] = lowest
    return found
