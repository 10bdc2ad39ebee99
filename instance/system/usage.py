"""What this instance did since it was made: cumulative counters by key and model, and what of it on each of the last days."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from instance.brand.ledger import head
from instance.core.money import nano_to_usd
from instance.core.timestamps import rfc3339, rfc3339_or_none
from instance.lookout.call_rows import call_sums
from instance.system.usage_days import COUNTERS, SUM_MAX, by_day, by_model

if TYPE_CHECKING:
    from instance.core.core import Core
    from instance.core.writer import Record

FOLD_S = 5.0

_ADD = """
INSERT INTO usage_totals (key_id, requests, errors, tokens_in, tokens_out, cost_nano, bytes_out, last_request_at_ns)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
    requests = requests + excluded.requests, errors = errors + excluded.errors,
    tokens_in = tokens_in + excluded.tokens_in, tokens_out = tokens_out + excluded.tokens_out,
    cost_nano = cost_nano + excluded.cost_nano, bytes_out = bytes_out + excluded.bytes_out,
    last_request_at_ns = max(last_request_at_ns, excluded.last_request_at_ns)
"""


def fold_usage(connection: sqlite3.Connection, records: Sequence[Record]) -> None:
    """Fold of kind 1: add the calls to their keys' totals."""
    totals: dict[str, list[int]] = {}
    for calls in call_sums(records):
        total = totals.setdefault(calls.key_id, [0] * 7)
        total[0] += calls.calls
        total[1] += calls.calls if calls.status == "error" else 0
        total[2] += calls.tokens_in
        total[3] += calls.tokens_out
        total[4] += calls.cost_nano
        total[5] += calls.bytes_out
        total[6] = max(total[6], calls.last_created_at_ns)
    rows = [(key, *(min(value, SUM_MAX) for value in total[:6]), total[6]) for key, total in totals.items()]
    connection.executemany(_ADD, rows)


def totals_by_key(connection: sqlite3.Connection) -> dict[str, dict[str, Any]]:
    """The counters of each key, by its id; calls without a known key are under `""`."""
    rows = connection.execute(f"SELECT key_id, {', '.join(COUNTERS)}, last_request_at_ns FROM usage_totals")
    return {row[0]: dict(zip((*COUNTERS, "last_request_at_ns"), row[1:], strict=True)) for row in rows}


async def reading(core: Core) -> dict[str, Any]:
    """The answer of `GET /api/instance/usage`: everything recorded until now, folded first."""
    with suppress(TimeoutError):  # a full disk: what was folded is still right, and the next reading has the rest
        async with asyncio.timeout(FOLD_S):
            await core.writer.drain()
    by_key, models, days, ledger_seq = await core.database.read(
        lambda connection: (
            totals_by_key(connection),
            by_model(connection),
            by_day(connection),
            head(connection)[0],
        )
    )
    return {
        "epoch": shown_epoch(core),
        "at": rfc3339(core.clock.wall_ns()),
        "seq": ledger_seq,
        **shown(_sum(by_key)),
        "storage_bytes": core.database.size_bytes(),
        "ledger_seq": ledger_seq,
        "quota": core.services["billing"].quota.described(core.clock.wall_ns()),
        "by_key": {
            key: shown(totals) | {"last_request_at": rfc3339_or_none(totals["last_request_at_ns"])}
            for key, totals in by_key.items()
        },
        "by_model": _each(models),
        "by_day": {
            day: shown(_sum(found["key"])) | {"by_key": _each(found["key"]), "by_model": _each(found["model"])}
            for day, found in days.items()
        },
    }


def _sum(by_name: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    return {name: sum(totals[name] for totals in by_name.values()) for name in COUNTERS}


def _each(by_name: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, Any]]:
    return {name: shown(totals) for name, totals in by_name.items()}


def shown_epoch(core: Core) -> int | str:
    """The epoch as the control plane counts it: a number when hosted."""
    return core.hosted.epoch if core.hosted is not None else core.epoch


def shown(totals: Mapping[str, int] | None) -> dict[str, Any]:
    """The counters as answers show them, cost in US dollars; zeros for `None`."""
    known = totals or dict.fromkeys(COUNTERS, 0)
    counters: dict[str, Any] = {name: known[name] for name in COUNTERS if name != "cost_nano"}
    return counters | {"cost_usd": nano_to_usd(known["cost_nano"])}
