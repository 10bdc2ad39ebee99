"""Exports of the ledger: NDJSON that verifies offline, or CSV for a spreadsheet. Streamed, whatever the ledger's size."""

from __future__ import annotations

import csv
import io
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from instance.brand import store
from instance.brand.chain import ZERO_HASH, export_header, header_message
from instance.brand.ledger import head
from instance.brand.retention import newest_anchor
from instance.core.timestamps import rfc3339

if TYPE_CHECKING:
    from instance.brand.signing import Signer
    from instance.core.core import Core

PAGE_ENTRIES = 500

CSV_COLUMNS = (
    "seq",
    "created_at",
    "event_type",
    "actor",
    "resource",
    "action",
    "detail",
    "trace_id",
    "prev_hash",
    "hash",
)


async def export_lines(core: Core, signer: Signer, narrowed: store.LedgerFilter) -> AsyncIterator[bytes]:
    """NDJSON: the signed header, then one entry a line, oldest first, up to the head at the moment of asking."""
    await signer.ready()
    first, last = await core.database.read(store.bounds)
    anchor = await core.database.read(newest_anchor)
    if anchor is not None:
        first = anchor.to_seq + 1
    start = max(first, narrowed.from_seq or 1)
    end = last if narrowed.to_seq is None else min(narrowed.to_seq, last)
    fixed = replace(narrowed, from_seq=start, to_seq=end)
    head_seq, newest = await core.database.read(head)
    before = await core.database.read(lambda connection: store.one(connection, start - 1)) if start > 1 else None
    prev_hash = before[-1] if before else ZERO_HASH
    if anchor is not None and start == first:
        prev_hash = bytes.fromhex(anchor.last_hash)
    head_hash = newest.hex()
    header = export_header(
        exported_at=rfc3339(core.clock.wall_ns()),
        first_seq=start if start <= end else 0,
        last_seq=end if start <= end else 0,
        prev_hash=prev_hash,
        head={"seq": head_seq, "hash": head_hash, "signature": signer.sign_head(head_seq, head_hash)},
        public_key=signer.public_key,
        filters=narrowed.leaves_gaps(),
        anchor=anchor._asdict() if anchor is not None else None,
    )
    header["signature"] = signer.sign(header_message(header))
    yield orjson.dumps(header) + b"\n"
    async for page in _pages(core, fixed, _ndjson):
        yield page


async def export_csv(core: Core, narrowed: store.LedgerFilter) -> AsyncIterator[bytes]:
    """CSV with one line of column names; `detail` is JSON in one cell. For reading, not for verifying."""
    last = (await core.database.read(store.bounds))[1]
    fixed = replace(narrowed, to_seq=last if narrowed.to_seq is None else min(narrowed.to_seq, last))
    yield _csv([CSV_COLUMNS])
    async for page in _pages(core, fixed, lambda rows: _csv(_cells(row) for row in rows)):
        yield page


async def _pages(
    core: Core, narrowed: store.LedgerFilter, written: Callable[[list[tuple[Any, ...]]], bytes]
) -> AsyncIterator[bytes]:
    position = 0
    while True:
        page, position, more = await core.database.read(partial(_page, narrowed, position, written))
        if page:
            yield page
        if not more:
            return


def _page(
    narrowed: store.LedgerFilter,
    position: int,
    written: Callable[[list[tuple[Any, ...]]], bytes],
    connection: sqlite3.Connection,
) -> tuple[bytes, int, bool]:
    rows = store.entries(connection, narrowed, limit=PAGE_ENTRIES, ascending=True, after=position)
    if not rows:
        return b"", position, False
    return written(rows), rows[-1][0], len(rows) == PAGE_ENTRIES


def _ndjson(rows: list[tuple[Any, ...]]) -> bytes:
    return b"".join(orjson.dumps(store.entry_of(row), option=orjson.OPT_APPEND_NEWLINE) for row in rows)


def _cells(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return (*row[:8], row[8].hex(), row[9].hex())


def _csv(rows: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
