"""Gauges that are looked up at a scrape, as Prometheus writes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

PREFIX = "stockyard_cloud_"
Values = Mapping[str, float]


def gauge(name: str, meaning: str, value: float) -> Metric:
    """One number."""
    return GaugeMetricFamily(PREFIX + name, meaning, value=value)


def counter(name: str, meaning: str, value: float) -> Metric:
    """One number that only grows; `_total` is added to its name."""
    return CounterMetricFamily(PREFIX + name, meaning, value=value)


def counters(name: str, meaning: str, label: str, values: Values) -> Metric:
    """A number that only grows for each value of a label."""
    family = CounterMetricFamily(PREFIX + name, meaning, labels=(label,))
    for each, value in values.items():
        family.add_metric((each,), value)
    return family


def gauges(name: str, meaning: str, label: str, values: Values) -> Metric:
    """A number for each value of a label."""
    family = GaugeMetricFamily(PREFIX + name, meaning, labels=(label,))
    for each, value in values.items():
        family.add_metric((each,), value)
    return family


def histogram(name: str, meaning: str, buckets: Sequence[tuple[str, float]], total: float) -> Metric:
    """A histogram from cumulative buckets (upper bound as text, count), the last of which is +Inf."""
    return HistogramMetricFamily(PREFIX + name, meaning, buckets=list(buckets), sum_value=total)


def info(name: str, meaning: str, words: Mapping[str, str]) -> Metric:
    """Words about the process, as labels of a 1."""
    return InfoMetricFamily(PREFIX + name, meaning, value=dict(words))


class _Looked(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def exposition(counted: CollectorRegistry, looked_up: Iterable[Metric]) -> str:
    """The text of a scrape: what was counted, and what was looked up for it."""
    registry = CollectorRegistry()
    registry.register(_Looked(looked_up))
    return (generate_latest(counted) + generate_latest(registry)).decode()
