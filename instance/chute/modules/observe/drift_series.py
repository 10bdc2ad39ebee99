"""One series of answers: its baseline, its latest answers, and what differs between them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from math import log
from statistics import median
from typing import Any, NamedTuple

from instance.chute.modules.observe.drift_tests import Tested, categories, numbers, q_values, rates, vectors

METRICS = (
    "length",
    "sentences",
    "refusal",
    "json",
    "tool_calls",
    "finish_reason",
    "latency",
    "language",
    "embedding",
    "fingerprint",
    "model_name",
)
VECTORS_MIN = 30
"""With fewer vectors on a side their means are not compared."""
LATENCY_MIN_MS = 20.0
"""A smaller difference of the medians is noise of machine and network."""
NAMES_MAX = 32
"""Fingerprints, or model names, that are remembered of a series."""


class Sample(NamedTuple):
    """What is kept of one answer. `vector` is of length 1, `None` when it was not embedded."""

    words: int
    sentences: int
    refuses: bool
    is_json: bool
    tools: bool
    finish: str
    latency_ms: float
    language: str
    fingerprint: str
    model_name: str
    vector: Any = None


class Finding(NamedTuple):
    """What one round says of one metric. `drifted`: significant, and large enough."""

    metric: str
    before: str
    now: str
    q: float | None
    effect: float | None
    drifted: bool


class DriftSeries:
    """The first answers are the baseline; of the later ones the latest are compared with it."""

    def __init__(self, baseline_n: int, window_n: int) -> None:
        self.baseline_n = baseline_n
        self.baseline: list[Sample] = []
        self.window: deque[Sample] = deque(maxlen=window_n)
        self.since_round = 0
        self.answers = 0
        self.open: dict[str, int] = {}
        """Metric -> id of the event that goes on."""
        self.names: dict[str, list[str]] = {"fingerprint": [], "model_name": []}
        self.changed = False
        """Whether the baseline grew since it was stored."""

    @property
    def is_complete(self) -> bool:
        return len(self.baseline) >= self.baseline_n

    def add(self, sample: Sample) -> list[Finding]:
        """Take an answer. A name that the provider did not use before is found at once."""
        self.answers += 1
        complete = self.is_complete
        if complete:
            self.window.append(sample)
            self.since_round += 1
        else:
            self.baseline.append(sample)
            self.changed = True
        found = []
        for metric, value in (("fingerprint", sample.fingerprint), ("model_name", sample.model_name)):
            known = self.names[metric]
            if value and value not in known:
                if known and complete:
                    found.append(Finding(metric, known[-1], value, None, None, True))
                known.append(value)
                del known[:-NAMES_MAX]
        return found

    def restart(self, *, take_window: bool) -> None:
        """A new baseline: the latest answers, or those to come."""
        self.baseline = list(self.window) if take_window else []
        if take_window:
            self.baseline_n = min(self.baseline_n, len(self.baseline)) or self.baseline_n
        self.window.clear()
        self.since_round = 0
        self.changed = True

    def is_due(self, every_n: int) -> bool:
        """Whether it is time for a round: the window is full, and enough came since the last."""
        return len(self.window) == self.window.maxlen and self.since_round >= every_n

    def round(self, metrics: Sequence[str], alpha: float, min_effect: float) -> list[Finding]:
        """Every test of the series at once. Takes some milliseconds, with vectors up to a tenth of a second."""
        self.since_round = 0
        before, now = self.baseline, list(self.window)
        tests = [(metric, _tested(metric, before, now)) for metric in metrics]
        done = [(metric, tested) for metric, tested in tests if tested is not None]
        found = []
        for (metric, tested), q in zip(done, q_values([tested.p for _, tested in done]), strict=True):
            large = abs(tested.effect) > min_effect and _is_real(metric, before, now)
            shown = (_shown(metric, before), _shown(metric, now))
            found.append(Finding(metric, *shown, round(q, 6), round(tested.effect, 3), q < alpha and large))
        return found


def _tested(metric: str, before: Sequence[Sample], now: Sequence[Sample]) -> Tested | None:
    if metric == "length":
        return numbers([log(1 + s.words) for s in before], [log(1 + s.words) for s in now])
    if metric == "sentences":
        return numbers([float(s.sentences) for s in before], [float(s.sentences) for s in now])
    if metric == "latency":
        return numbers([log(1 + s.latency_ms) for s in before], [log(1 + s.latency_ms) for s in now])
    if metric in _RATES:
        name = _RATES[metric]
        return rates(sum(getattr(s, name) for s in before), len(before), sum(getattr(s, name) for s in now), len(now))
    if metric == "finish_reason":
        return categories([s.finish for s in before], [s.finish for s in now])
    if metric == "language":
        return categories([s.language for s in before], [s.language for s in now])
    if metric == "embedding":
        first, second = (_vectors(samples) for samples in (before, now))
        if min(len(first), len(second)) < VECTORS_MIN:
            return None
        return vectors(first, second)
    return None


_RATES = {"refusal": "refuses", "json": "is_json", "tool_calls": "tools"}


def _vectors(samples: Sequence[Sample]) -> list[Any]:
    return [sample.vector for sample in samples if sample.vector is not None]


def _is_real(metric: str, before: Sequence[Sample], now: Sequence[Sample]) -> bool:
    if metric != "latency":
        return True
    return abs(median(s.latency_ms for s in now) - median(s.latency_ms for s in before)) >= LATENCY_MIN_MS


def _shown(metric: str, samples: Sequence[Sample]) -> str:
    """A side of the comparison for people."""
    if metric == "length":
        return f"median {median(s.words for s in samples):g} words"
    if metric == "sentences":
        return f"median {median(s.sentences for s in samples):g} sentences"
    if metric == "latency":
        return f"median {median(s.latency_ms for s in samples):.0f} ms"
    if metric in _RATES:
        return f"{100 * sum(getattr(s, _RATES[metric]) for s in samples) / len(samples):.1f} %"
    if metric in ("finish_reason", "language"):
        name = "finish" if metric == "finish_reason" else "language"
        counts = Counter(getattr(s, name) or "unknown" for s in samples).most_common(3)
        return ", ".join(f"{value} {100 * count / len(samples):.0f} %" for value, count in counts)
    return f"{len(_vectors(samples))} answers"
