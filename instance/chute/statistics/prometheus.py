"""Statistics as Prometheus reads them (text format 0.0.4, https://prometheus.io/docs/instrumenting/exposition_formats/)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from instance.chute.statistics.histogram import LogHistogram
from instance.chute.statistics.series import Series

LATENCY_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
OVERHEAD_BOUNDS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25)

Labels = Mapping[str, str]


def _label(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _line(name: str, labels: Labels, value: float | int) -> str:
    inside = ",".join(f'{label}="{_label(text)}"' for label, text in labels.items())
    return f"{name}{{{inside}}} {value}" if inside else f"{name} {value}"


def metric(name: str, kind: str, summary: str, samples: Iterable[tuple[Labels, float | int]]) -> list[str]:
    """One metric of a single value: its lines."""
    return [
        f"# HELP {name} {summary}",
        f"# TYPE {name} {kind}",
        *(_line(name, labels, value) for labels, value in samples),
    ]


def _histogram(
    name: str, summary: str, bounds_s: Iterable[float], samples: Iterable[tuple[Labels, LogHistogram]]
) -> list[str]:
    lines = [f"# HELP {name} {summary}", f"# TYPE {name} histogram"]
    for labels, histogram in samples:
        lines += [
            _line(f"{name}_bucket", {**labels, "le": f"{bound:g}"}, histogram.at_most(bound * 1e6))
            for bound in bounds_s
        ]
        count = histogram.count
        lines.append(_line(f"{name}_bucket", {**labels, "le": "+Inf"}, count))
        lines.append(_line(f"{name}_sum", labels, histogram.sum / 1e6))
        lines.append(_line(f"{name}_count", labels, count))
    return lines


def call_metrics(series_of: Mapping[tuple[str, ...], Series]) -> list[str]:
    """The lines for calls; `series_of` is by (provider, model)."""
    named = [({"provider": name[0], "model": name[1]}, series) for name, series in series_of.items()]
    lines = metric(
        "stockyard_requests_total",
        "counter",
        "Calls that are over.",
        (
            ({**labels, "status": status, "cache": cache}, count)
            for labels, series in named
            for (status, cache), count in series.outcomes.items()
        ),
    )
    lines += metric(
        "stockyard_errors_total",
        "counter",
        "Calls that failed or were refused, by error code.",
        (({**labels, "code": code}, count) for labels, series in named for code, count in series.errors.items()),
    )
    lines += metric(
        "stockyard_tokens_total",
        "counter",
        "Tokens of calls.",
        (
            ({**labels, "kind": kind}, count)
            for labels, series in named
            for kind, count in (
                ("input", series.tokens_in),
                ("output", series.tokens_out),
                ("cached", series.tokens_cached),
            )
        ),
    )
    lines += metric(
        "stockyard_cost_usd_total",
        "counter",
        "Cost of calls.",
        ((labels, series.cost_nano / 1e9) for labels, series in named),
    )
    lines += _histogram(
        "stockyard_request_seconds",
        "Whole calls.",
        LATENCY_BOUNDS_S,
        ((labels, series.latency_us) for labels, series in named),
    )
    lines += _histogram(
        "stockyard_ttft_seconds",
        "From the call's start to its first content.",
        LATENCY_BOUNDS_S,
        ((labels, series.ttft_us) for labels, series in named),
    )
    overhead = LogHistogram()
    for _, series in named:
        overhead.merge(series.overhead_us)
    lines += _histogram(
        "stockyard_overhead_seconds",
        "Time of the instance's own: a call's duration without the provider's and without waiting.",
        OVERHEAD_BOUNDS_S,
        [({}, overhead)],
    )
    return lines
