"""The bundled embedder as the status and `/metrics` show it; absent where no module has loaded it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

REASONS = {"embedder_late": "late", "embedder_full": "full"}


def embedder_component(services: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether it answers, and what is to be known of it, in words."""
    embedder = services.get("embedder")
    if embedder is None:
        return True, "not in use"
    known = embedder.report()
    if not known["loaded"]:
        return True, "not loaded"
    said = f"{known['busy']} of {known['threads']} threads at work, {known['waiting_for_calls']} calls wait"
    if known["late_last_minute"]:
        said += f", {known['late_last_minute']} went without it within a minute"
    return (False, f"stuck: {said}") if known["stuck"] else (True, said)


def embedder_metrics(services: Mapping[str, Any]) -> str:
    """The text of its metrics."""
    embedder = services.get("embedder")
    if embedder is None:
        return ""
    known = embedder.report()
    waiting = {"call": known["waiting_for_calls"], "other": known["waiting_for_others"]}
    late = {label: known[reason] for reason, label in REASONS.items()}
    return "".join(
        (
            _metric("waiting", "gauge", "Jobs that wait for it: of calls, and what no call waits for.", "for", waiting),
            _metric("busy_threads", "gauge", "Threads that read.", "", {"": known["busy"]}),
            _metric("threads", "gauge", "Threads that it may read on.", "", {"": known["threads"]}),
            _metric("missed_total", "counter", "Jobs that went without: late, or the queue was full.", "reason", late),
            _metric(
                "abandoned_total", "counter", "Jobs that were dropped: nobody waited.", "", {"": known["abandoned"]}
            ),
            _metric("texts_total", "counter", "Texts that the model read.", "", {"": known["texts"]}),
        )
    )


def _metric(name: str, kind: str, said: str, label: str, values: Mapping[str, int]) -> str:
    full = f"stockyard_embedder_{name}"
    lines = [f'{full}{{{label}="{of}"}} {value}\n' if label else f"{full} {value}\n" for of, value in values.items()]
    return f"# HELP {full} {said}\n# TYPE {full} {kind}\n{''.join(lines)}"
