"""The control plane's own ledger: who did what to which tenant, in the same hash chain as an instance's."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from sqlalchemy import Connection, func, insert, select

from control_plane.domain.state import rfc3339
from control_plane.store.schema import ledger
from instance.brand.chain import ZERO_HASH, Walk, canonical, entry_hash, require_canonical

BATCH = 500
LAST = select(ledger.c.seq, ledger.c.hash).order_by(ledger.c.seq.desc()).limit(1)
APPEND = insert(ledger)


def append(
    connection: Connection,
    *,
    event_type: str,
    actor: str,
    resource: str,
    action: str,
    detail: Mapping[str, Any],
    at: float | None = None,
) -> int:
    """Append one entry in the caller's transaction and answer its `seq`.

    Raises ValueError unless `detail` holds only integers, strings, booleans and ASCII keys.
    """
    require_canonical(dict(detail))
    last = connection.execute(LAST).first()
    prev = bytes.fromhex(last.hash) if last else ZERO_HASH
    entry: dict[str, Any] = {
        "seq": last.seq + 1 if last else 1,
        "created_at": rfc3339(time.time() if at is None else at),
        "event_type": event_type,
        "actor": actor,
        "resource": resource,
        "action": action,
        "detail": dict(detail),
        "trace_id": None,
    }
    digest = entry_hash(prev, canonical(entry))
    text = orjson.dumps(entry["detail"], option=orjson.OPT_SORT_KEYS).decode()
    row = entry | {"detail": text, "prev_hash": prev.hex(), "hash": digest.hex()}
    connection.execute(APPEND, row)
    return int(entry["seq"])


def page(connection: Connection, *, limit: int, offset: int, resource: str | None = None) -> tuple[list[Any], int]:
    """Entries newest first, and how many there are in all."""
    query = select(ledger).order_by(ledger.c.seq.desc()).limit(limit).offset(offset)
    count = select(func.count()).select_from(ledger)
    if resource:
        query, count = query.where(ledger.c.resource == resource), count.where(ledger.c.resource == resource)
    return [_entry(row) for row in connection.execute(query)], int(connection.execute(count).scalar_one())


def verify(connection: Connection) -> dict[str, Any]:
    """Walk the whole chain in bounded memory; the shape of API.md's `ledger/verify`."""
    started = time.perf_counter()
    walk = Walk()
    for entry in _entries(connection):
        if not walk.check(entry):
            break
    verdict = walk.end()
    answer: dict[str, Any] = {
        "valid": verdict.valid,
        "events_checked": verdict.checked,
        "first_seq": verdict.first_seq,
        "head": {"seq": verdict.head_seq, "hash": verdict.head_hash},
        "duration_ms": round((time.perf_counter() - started) * 1000, 3),
    }
    if not verdict.valid:
        answer |= {
            "broken_at_id": verdict.broken_at,
            "reason": verdict.reason,
            "expected": verdict.expected,
            "found": verdict.found,
        }
    return answer


def _entries(connection: Connection) -> Iterator[dict[str, Any]]:
    after = 0
    while True:
        query = select(ledger).where(ledger.c.seq > after).order_by(ledger.c.seq).limit(BATCH)
        rows = connection.execute(query).all()
        for row in rows:
            yield _entry(row)
        if len(rows) < BATCH:
            return
        after = rows[-1].seq


def _entry(row: Any) -> dict[str, Any]:
    entry = dict(row._mapping)
    try:
        entry["detail"] = orjson.loads(entry["detail"])
    except orjson.JSONDecodeError:
        pass  # a damaged row stays as it is: the walk names it
    return entry | {"id": entry["seq"]}
