"""Verification of the stored chain: in slices on a reader, so that calls go on meanwhile; at most one walk at a time."""

from __future__ import annotations

import asyncio
import sqlite3
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

from instance.brand import store
from instance.brand.chain import ZERO_HASH, Verdict, Walk, anchor_message
from instance.brand.retention import newest_anchor
from instance.brand.seals import SEAL, seal_fault
from instance.brand.signing import public_keys, signature_holds
from instance.core.timestamps import rfc3339

if TYPE_CHECKING:
    from instance.core.core import Core

SLICE_ENTRIES = 200

Range = tuple[int | None, int | None]


class Verifier:
    """Walks the ledger's table. A walk that is asked for while the same one runs shares its result."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.one_at_a_time = asyncio.Lock()
        """Held by a walk; who removes entries holds it too, so that no walk sees a gap that is none."""
        self._running: dict[Range, asyncio.Task[dict[str, Any]]] = {}
        self.last: dict[str, Any] | None = None
        """Result of the last walk over the whole ledger."""
        self._anchored_at: int | None = None

    async def verify(self, from_seq: int | None = None, to_seq: int | None = None) -> dict[str, Any]:
        """Walk from `from_seq` to `to_seq` (inclusive; the whole ledger without them); see `described`."""
        asked = (from_seq, to_seq)
        task = self._running.get(asked)
        if task is None:
            task = asyncio.create_task(self._alone(asked))
            self._running[asked] = task
            task.add_done_callback(lambda _: self._running.pop(asked, None))
        return await asyncio.shield(task)

    async def _alone(self, asked: Range) -> dict[str, Any]:
        async with self.one_at_a_time:
            started = perf_counter()
            verdict = await self._walk(*asked)
            result = described(verdict, round((perf_counter() - started) * 1000, 3), self._anchored_at)
            if asked == (None, None):
                self.last = result | {"verified_at": rfc3339(self._core.clock.wall_ns())}
            return result

    async def _walk(self, from_seq: int | None, to_seq: int | None) -> Verdict:
        read = self._core.database.read
        _, last = await read(store.bounds)
        anchor = await read(newest_anchor)
        keys = frozenset(await read(public_keys))
        self._anchored_at = anchor.to_seq if anchor is not None else None
        start = max(1, from_seq or 1, anchor.to_seq + 1 if anchor is not None else 1)
        end = last if to_seq is None else min(to_seq, last)
        prev_hash: bytes | None = ZERO_HASH
        if anchor is not None and start == anchor.to_seq + 1:
            message = anchor_message(anchor.to_seq, anchor.last_hash)
            if not any(signature_holds(key, anchor.signature, message) for key in keys):
                walk = Walk(first_seq=start, prev_hash=None)
                walk.signature_broken(anchor.seq, "an anchor as it was signed", "an anchor that was changed")
                return walk.end()
            prev_hash = bytes.fromhex(anchor.last_hash)
        elif start > 1:
            before = await read(lambda connection: store.one(connection, start - 1))
            prev_hash = before[-1] if before else None
        walk = Walk(first_seq=start, prev_hash=prev_hash)
        position = start - 1
        while position < end:
            rows, ok = await read(partial(_slice, walk, keys, position, end))
            if not ok or not rows:
                break
            position += rows
        return walk.end(end if end >= start else None)


def _slice(
    walk: Walk, keys: frozenset[str], position: int, end: int, connection: sqlite3.Connection
) -> tuple[int, bool]:
    rows = store.after(connection, position, end, SLICE_ENTRIES)
    return len(rows), all(_holds(walk, keys, row) for row in rows)


def _holds(walk: Walk, keys: frozenset[str], row: tuple[Any, ...]) -> bool:
    if not walk.check(store.chained_of(row)):
        return False
    if row[2] != SEAL:
        return True
    fault = seal_fault(store.entry_of(row), keys)
    return fault is None or walk.signature_broken(row[0], *fault)


def described(verdict: Verdict, duration_ms: float, anchored_at: int | None = None) -> dict[str, Any]:
    """The answer of `GET /api/trust/ledger/verify`."""
    result: dict[str, Any] = {
        "valid": verdict.valid,
        "events_checked": verdict.checked,
        "first_seq": verdict.first_seq,
        "head": {"seq": verdict.head_seq, "hash": verdict.head_hash},
        "anchored_at": anchored_at,
        "duration_ms": duration_ms,
    }
    if not verdict.valid:
        result |= {
            "broken_at_id": verdict.broken_at,
            "reason": verdict.reason,
            "expected": verdict.expected,
            "found": verdict.found,
        }
    return result
