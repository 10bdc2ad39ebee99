"""What an experiment's variants came to, and how sure their differences are."""

from __future__ import annotations

from math import sqrt
from typing import Any

from instance.chute.statistics.histogram import LogHistogram

Z = 1.959963984540054
"""The normal distribution's 97.5 % quantile: intervals are of 95 %."""
MEANS = ("cost_usd", "tokens", "latency_ms", "rating", "score")


class Mean:
    """Count, sum and sum of squared deviations of a figure, kept in one pass (Welford's method)."""

    __slots__ = ("count", "mean", "squares")

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self.squares = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        delta = value - self.mean
        self.mean += delta / self.count
        self.squares += delta * (value - self.mean)

    @property
    def variance(self) -> float:
        """Of the sample; 0 below two values."""
        return self.squares / (self.count - 1) if self.count > 1 else 0.0


class VariantFigures:
    """The counters of one variant."""

    __slots__ = ("calls", "errors", "latency", "means")

    def __init__(self) -> None:
        self.calls = 0
        self.errors = 0
        self.latency = LogHistogram()
        """Microseconds."""
        self.means = {name: Mean() for name in MEANS}

    def shown(self) -> dict[str, Any]:
        """As JSON values; the mean of what nobody gave is null."""
        low, high = wilson(self.errors, self.calls)
        return {
            "count": self.calls,
            "errors": self.errors,
            "error_rate": self.errors / self.calls if self.calls else None,
            "error_rate_95": [low, high] if self.calls else None,
            "latency_p50_ms": _ms(self.latency.quantile(0.5)),
            "latency_p99_ms": _ms(self.latency.quantile(0.99)),
            **{f"{name}_mean": mean.mean if mean.count else None for name, mean in self.means.items()},
            **{f"{name}s": self.means[name].count for name in ("rating", "score")},
        }


def _ms(microseconds: float | None) -> float | None:
    return None if microseconds is None else round(microseconds / 1000, 3)


def differences(control: VariantFigures, other: VariantFigures, min_samples: int) -> dict[str, Any]:
    """Each figure of `other` less that of `control` with its 95 % interval; `"not enough data"` below `min_samples` each."""
    found: dict[str, Any] = {}
    for name in MEANS:
        a, b = control.means[name], other.means[name]
        enough = min(a.count, b.count) >= max(2, min_samples)
        found[name] = welch(a, b) if enough else "not enough data"
    enough = min(control.calls, other.calls) >= max(1, min_samples)
    found["error_rate"] = newcombe(control, other) if enough else "not enough data"
    return found


def _interval(difference: float, low: float, high: float) -> dict[str, Any]:
    return {"difference": difference, "low": low, "high": high, "significant": low > 0 or high < 0}


def welch(a: Mean, b: Mean) -> dict[str, Any]:
    """The difference of two means by Welch's t-interval, with the degrees of freedom after Welch and Satterthwaite."""
    share_a, share_b = a.variance / a.count, b.variance / b.count
    error = share_a + share_b
    difference = b.mean - a.mean
    if error == 0:
        return _interval(difference, difference, difference)
    freedom = error**2 / (share_a**2 / (a.count - 1) + share_b**2 / (b.count - 1))
    reach = student_t(freedom) * sqrt(error)
    return _interval(difference, difference - reach, difference + reach)


def student_t(freedom: float) -> float:
    """The 97.5 % quantile of Student's distribution, by the expansion of Cornish and Fisher (Abramowitz and Stegun 26.7.5)."""
    z = Z
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a rate."""
    if not count:
        return 0.0, 1.0
    rate = hits / count
    scale = 1 + Z**2 / count
    middle = (rate + Z**2 / (2 * count)) / scale
    reach = Z / scale * sqrt(rate * (1 - rate) / count + Z**2 / (4 * count**2))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def newcombe(a: VariantFigures, b: VariantFigures) -> dict[str, Any]:
    """The difference of two error rates, its interval made of Wilson's two (Newcombe's method 10)."""
    rate_a, rate_b = a.errors / a.calls, b.errors / b.calls
    low_a, high_a = wilson(a.errors, a.calls)
    low_b, high_b = wilson(b.errors, b.calls)
    difference = rate_b - rate_a
    low = difference - sqrt((rate_b - low_b) ** 2 + (high_a - rate_a) ** 2)
    high = difference + sqrt((high_b - rate_b) ** 2 + (rate_a - low_a) ** 2)
    return _interval(difference, low, high)
