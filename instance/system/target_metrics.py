"""Gauges of providers, targets and pooled keys for `/metrics`: what the modules that watch them know now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from instance.chute.providers import ProviderTable

SERIES_MAX = 200
"""Series of one gauge; the last ones used are shown."""
CIRCUITS = {"closed": 0, "half_open": 1, "open": 2}
USABLE = frozenset(("active", "suspect"))

Series = Iterable[tuple[Mapping[str, str], float]]


def target_gauges(services: Mapping[str, Any]) -> str:
    """The text of all gauges; one whose module is off, or that has no series, is left out."""
    providers: ProviderTable = services["providers"]
    usable = [provider for provider in providers.all() if provider.usable]
    up = [({"provider": one.name}, float(one.status in USABLE)) for one in usable]
    text = _gauge("stockyard_provider_up", "Whether the provider takes calls.", up)
    breakers = services.get("breakers")
    if breakers is not None:
        states = [({"provider": one.name}, float(CIRCUITS[breakers.of_provider(one.name)])) for one in usable]
        text += _gauge("stockyard_provider_circuit", "Worst breaker: 0 closed, 1 half open, 2 open.", states)
    load = services.get("load")
    if load is not None:
        rows = load.rows()
        slow = [({"target": row["target"]}, row["latency_ms"] / 1000) for row in rows if row["latency_ms"] is not None]
        text += _gauge(
            "stockyard_target_latency_seconds", "Time to the first content, as the load balancer sees it.", slow
        )
        busy = [({"target": row["target"]}, float(row["in_flight"])) for row in rows]
        text += _gauge("stockyard_target_in_flight", "Calls that the target answers.", busy)
    keypool = services.get("keypool")
    if keypool is not None:
        keys = keypool.rows()
        for name, field, said in (
            ("stockyard_pooled_key_requests", "requests_last_minute", "Requests in the last minute."),
            ("stockyard_pooled_key_tokens", "tokens_last_minute", "Tokens in the last minute."),
            ("stockyard_pooled_key_usd", "usd_today", "Dollars today (UTC)."),
        ):
            text += _gauge(name, said, [(_key(row), float(row[field])) for row in keys])
        ready = [(_key(row), float(row["state"] == "ready")) for row in keys]
        text += _gauge("stockyard_pooled_key_ready", "Whether the key may be used now.", ready)
    return text


def _key(row: Mapping[str, Any]) -> dict[str, str]:
    return {"provider": row["provider"], "key": row["name"]}


def _gauge(name: str, said: str, series: Series) -> str:
    lines = [
        f"{name}{{{','.join(f'{label}={_quoted(value)}' for label, value in labels.items())}}} {number:g}\n"
        for labels, number in list(series)[-SERIES_MAX:]
    ]
    return f"# HELP {name} {said}\n# TYPE {name} gauge\n{''.join(lines)}" if lines else ""


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
