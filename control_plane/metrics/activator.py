"""What the activator counts: its own process, asked over its socket. An older one that does not tell is no error."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from prometheus_client.core import Metric

from control_plane.config import ENV_PREFIX, Config
from control_plane.metrics.family import counter, gauge, histogram
from control_plane.reconcile.ports import Unavailable
from control_plane.reconcile.unix_http import request_json

PATH = "/internal/activator/stats"
ASK_S = 1.0


async def activator_stats(config: Config) -> Mapping[str, Any] | None:
    """Its own account; {} where it answers and does not tell; None where it does not answer."""
    key = os.environ.get(f"{ENV_PREFIX}OPERATOR_KEY", "")
    if not key:
        with suppress(OSError):
            key = (await asyncio.to_thread(config.operator_key_file.read_text, encoding="ascii")).strip()
    try:
        status, found = await request_json(config.activator_socket, "GET", PATH, key=key, timeout_s=ASK_S)
    except Unavailable:
        return None
    return found if status == 200 else {}


def activator_families(stats: Mapping[str, Any] | None) -> Iterator[Metric]:
    """Always the same names, so that an alert on one of them cannot be silent for want of it."""
    told = stats or {}
    yield gauge("activator_held", "Calls that wait for their tenant to wake.", _number(told.get("held")))
    yield counter("activator_shed", "Calls refused because too many waited.", _number(told.get("shed")))
    yield counter("activator_wakes", "Tenants woken for a call.", _number(told.get("wakes")))
    buckets, total = _buckets(told.get("wake_seconds"))
    yield histogram("wake_seconds", "From a call for a sleeping tenant until it was routed to.", buckets, total)


def _number(found: object) -> float:
    if isinstance(found, Mapping):  # by reason, or by outcome
        return sum(_number(each) for each in found.values())
    return float(found) if isinstance(found, (int, float)) and not isinstance(found, bool) else 0.0


def _buckets(found: object) -> tuple[Sequence[tuple[str, float]], float]:
    """From {"buckets": {"0.1": cumulative count, …, "+Inf": count}, "sum": seconds}."""
    if isinstance(found, Mapping) and isinstance(found.get("buckets"), Mapping):
        buckets = [(str(bound), _number(count)) for bound, count in found["buckets"].items()]
        if buckets and buckets[-1][0] == "+Inf":
            return buckets, _number(found.get("sum"))
    return [("+Inf", 0.0)], 0.0
