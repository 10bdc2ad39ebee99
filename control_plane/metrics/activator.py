"""What the activator counts: its own process, asked over its socket. An older one that does not tell is no error."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from prometheus_client.core import Metric

from control_plane.config import ENV_PREFIX, Config
from control_plane.metrics.family import counter, counters, gauge, histogram
from control_plane.reconcile.ports import Unavailable
from control_plane.reconcile.unix_http import request_json

PATH = "/internal/activator/stats"
ASK_S = 1.0
OUTCOMES = ("awake", "refused", "given_up")


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
    held, wakes = _table(told, "held"), _table(told, "wakes")
    ended = {outcome: _number(wakes.get(outcome)) for outcome in OUTCOMES}
    yield gauge("activator_held", "Calls that wait for their tenant to wake.", _number(held.get("calls")))
    yield gauge("activator_waking", "Tenants that are being woken.", _number(wakes.get("under_way")))
    shed = sum(_number(each) for each in _table(told, "shed").values())
    yield counter("activator_shed", "Calls refused because too many waited.", shed)
    yield counters("activator_wakes", "Wakes that ended, by how.", "outcome", ended)
    buckets, total = _buckets(_table(told, "wake_seconds"))
    yield histogram("wake_seconds", "From a call for a sleeping tenant until it was routed to.", buckets, total)


def _table(told: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = told.get(name)
    return found if isinstance(found, Mapping) else {}


def _number(found: object) -> float:
    return float(found) if isinstance(found, (int, float)) and not isinstance(found, bool) else 0.0


def _buckets(found: Mapping[str, Any]) -> tuple[Sequence[tuple[str, float]], float]:
    """From `{"buckets": [[upper bound, how many were at most that], …], "count", "sum"}`."""
    pairs = found.get("buckets")
    pairs = pairs if isinstance(pairs, list) else []
    bounds = [(str(float(bound)), _number(count)) for bound, count in pairs]
    return [*bounds, ("+Inf", _number(found.get("count")))], _number(found.get("sum"))
