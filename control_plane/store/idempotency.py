"""`Idempotency-Key`: the first answer of a POST is kept for 24 hours and repeated for the same request."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from control_plane.errors import CloudError
from control_plane.store.schema import idempotency_keys as table

KEPT_S = 86_400
RUNNING_S = 120  # after this a request that never finished may be tried again
RUNNING = 0


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer given before; `answer` is JSON without any secret."""

    status: int
    answer: str
    secret: bool


def begin(connection: Connection, caller: str, key: str, request_sha256: str) -> Kept | None:
    """The answer kept for this key, or None: then it is this request's to make.

    Raises `idempotency_conflict` for another request under the same key, or one that is still running.
    """
    now = time.time()
    connection.execute(delete(table).where(table.c.created_at < now - KEPT_S))
    stale = (table.c.status == RUNNING) & (table.c.created_at < now - RUNNING_S)
    connection.execute(delete(table).where(stale))
    row = connection.execute(select(table).where(table.c.caller == caller, table.c.key == key)).first()
    if row is None:
        values = {"caller": caller, "key": key, "request_sha256": request_sha256, "created_at": now}
        connection.execute(insert(table).values(**values, status=RUNNING, answer="", secret=False))
        return None
    if row.request_sha256 != request_sha256:
        raise CloudError("idempotency_conflict", "this Idempotency-Key was used with another request")
    if row.status == RUNNING:
        raise CloudError("idempotency_conflict", "the first request with this Idempotency-Key is still running")
    return Kept(row.status, row.answer, row.secret)


def finish(connection: Connection, caller: str, key: str, kept: Kept | None) -> None:
    """Keep the answer; None forgets the key, so that a refused request may be tried again."""
    mine = (table.c.caller == caller) & (table.c.key == key)
    if kept is None:
        connection.execute(delete(table).where(mine))
        return
    values = {"status": kept.status, "answer": kept.answer, "secret": kept.secret}
    connection.execute(update(table).where(mine).values(**values))
