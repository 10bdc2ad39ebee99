"""The ledger's writing side: the only code that appends to it. Runs in the writer's thread, inside its transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from operator import itemgetter
from typing import Any

import orjson

from instance.brand.chain import DETAIL_MAX_BYTES, VERSION, ZERO_HASH, require_canonical
from instance.core.bulk_insert import BulkInsert
from instance.core.clock import Clock
from instance.core.timestamps import rfc3339
from instance.core.writer import LedgerEvent, Record
from instance.lookout.call_columns import CALL_COLUMNS
from instance.lookout.call_rows import call_rows

EVENT_KIND = 2
"""Kind of the journal's record of a ledger event."""
CALL_EVENT = "proxy_request"

_COLUMNS = (
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
_insert = BulkInsert("ledger", _COLUMNS)

_ID = CALL_COLUMNS.index("id")
_CREATED_AT_NS = CALL_COLUMNS.index("created_at_ns")
_subject = itemgetter(
    *map(CALL_COLUMNS.index, ("key_id", "provider", "model", "model_requested", "operation")),
)

Draft = tuple[str, str, str, str, str, bytes, str | None]
"""created_at, event_type, actor, resource, action, detail in canonical form, trace_id."""


class CallFrame:
    """What calls of one key to one model on one operation have in common in the ledger.

    Their canonical form is put together from text instead of being written by orjson, which costs three times as much.
    """

    __slots__ = ("_begin", "_middle", "action", "actor", "resource")

    def __init__(self, key_id: str, provider: str, model: str, model_requested: str, operation: str) -> None:
        self.actor = f"key:{key_id}" if key_id else "anonymous"
        self.resource = f"{provider}/{model}" if provider else model_requested
        self.action = operation
        self._begin = f'{{"action":{_json(self.action)},"actor":{_json(self.actor)},"created_at":"'
        self._middle = f',"event_type":"{CALL_EVENT}","resource":{_json(self.resource)},"seq":'

    def canonical(self, seq: int, created_at: str, detail: str, trace_id: str) -> bytes:
        """The bytes that `chain.canonical` makes of the call's entry. `detail` is in canonical form already."""
        named = f'"{trace_id}"' if trace_id.isidentifier() else _json(trace_id)  # an identifier needs no escapes
        text = f'{self._begin}{created_at}","detail":{detail}{self._middle}{seq},"trace_id":{named},"v":{VERSION}}}'
        return text.encode()


def _json(text: str) -> str:
    return orjson.dumps(text).decode()


class Ledger:
    """Appends entries in order. `folded_calls` is the range of `seq` that the calls of the last fold received."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.folded_calls = range(0)
        self._notify_at = 0
        self._notify: Callable[[], None] | None = None

    def notify_at(self, seq: int, notify: Callable[[], None] | None) -> None:
        """Have `notify` called once, in the writer's thread, when an entry with this `seq` or a later one was appended."""
        self._notify_at = seq
        self._notify = notify

    def _appended(self, last_seq: int) -> None:
        notify = self._notify
        if notify is not None and last_seq >= self._notify_at:
            self._notify = None
            notify()

    def append(self, connection: sqlite3.Connection, events: Sequence[LedgerEvent]) -> range:
        """Append events in the transaction of `connection`; their `seq`s."""
        created_at = rfc3339(self._clock.wall_ns())
        return self._append(
            connection,
            (
                (
                    created_at,
                    event.event_type,
                    event.actor,
                    event.resource,
                    event.action,
                    canonical_detail(event.detail),
                    event.trace_id,
                )
                for event in events
            ),
        )

    def fold_calls(self, connection: sqlite3.Connection, records: Sequence[Record]) -> None:
        """Fold of kind 1: one `proxy_request` for each call."""
        prev = head(connection)[1]
        after = bytearray(prev)
        seq = last_given(connection)
        first = seq + 1
        rows = []
        frames: dict[tuple[str, ...], CallFrame] = {}
        for row, record in zip(call_rows(records), records, strict=True):
            subject = _subject(row)
            frame = frames.get(subject)
            if frame is None:
                frame = frames[subject] = CallFrame(*subject)
            seq += 1
            created_at = rfc3339(row[_CREATED_AT_NS])
            detail = record.parts[2].decode()
            trace_id = row[_ID]
            own = sha256(prev + frame.canonical(seq, created_at, detail, trace_id)).digest()
            before, after = after, bytearray(own)
            done = (frame.actor, frame.resource, frame.action)
            rows.append((seq, created_at, CALL_EVENT, *done, detail, trace_id, before, after))
            prev = own
        _insert(connection, rows)
        self.folded_calls = range(first, seq + 1)
        self._appended(seq)

    def fold_events(self, connection: sqlite3.Connection, records: Sequence[Record]) -> None:
        """Fold of kind 2: ledger events that came through the journal."""
        self._append(connection, (self._event(orjson.loads(record.parts[0])) for record in records))

    @staticmethod
    def _event(event: dict[str, Any]) -> Draft:
        return (
            rfc3339(event["created_at_ns"]),
            event["event_type"],
            event["actor"],
            event["resource"],
            event["action"],
            canonical_detail(event["detail"]),
            event.get("trace_id"),
        )

    def _append(self, connection: sqlite3.Connection, drafts: Iterable[Draft]) -> range:
        prev = head(connection)[1]
        seq = last_given(connection)
        first = seq + 1
        rows = []
        dumps, fragment, sort_keys = orjson.dumps, orjson.Fragment, orjson.OPT_SORT_KEYS
        for created_at, event_type, actor, resource, action, detail, trace_id in drafts:
            seq += 1
            canonical = dumps(
                {
                    "action": action,
                    "actor": actor,
                    "created_at": created_at,
                    "detail": fragment(detail),
                    "event_type": event_type,
                    "resource": resource,
                    "seq": seq,
                    "trace_id": trace_id,
                    "v": VERSION,
                },
                option=sort_keys,
            )
            own = sha256(prev + canonical).digest()
            rows.append((seq, created_at, event_type, actor, resource, action, detail.decode(), trace_id, prev, own))
            prev = own
        _insert(connection, rows)
        self._appended(seq)
        return range(first, seq + 1)


def head(connection: sqlite3.Connection) -> tuple[int, bytes]:
    """`(seq, hash)` of the newest entry; `(0, 32 zero bytes)` of an empty ledger."""
    row = connection.execute("SELECT seq, hash FROM ledger ORDER BY seq DESC LIMIT 1").fetchone()
    return (row[0], row[1]) if row else (0, ZERO_HASH)


def last_given(connection: sqlite3.Connection) -> int:
    """The highest `seq` ever given; above the head's only when entries were dropped from the end."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'ledger'").fetchone()
    return row[0] if row else 0


def canonical_detail(detail: dict[str, Any]) -> bytes:
    """RFC 8785 JSON of an internal event's detail.

    What the form cannot hold (fractions, huge integers, keys that are not ASCII) is written as text, and a detail above
    64 KiB is replaced by its size and digest: an event of our own is never refused for its detail.
    """
    try:
        require_canonical(detail)
    except ValueError:
        detail = _as_text(detail)
    canonical = orjson.dumps(detail, option=orjson.OPT_SORT_KEYS)
    if len(canonical) > DETAIL_MAX_BYTES:
        canonical = orjson.dumps({"detail_bytes": len(canonical), "detail_sha256": sha256(canonical).hexdigest()})
    return canonical


def _as_text(value: Any, depth: int = 0) -> Any:
    if isinstance(value, dict) and depth < 16:
        return {
            str(key).encode("ascii", "backslashreplace").decode(): _as_text(v, depth + 1) for key, v in value.items()
        }
    if isinstance(value, (list, tuple)) and depth < 16:
        return [_as_text(member, depth + 1) for member in value]
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    try:
        require_canonical(value)
    except ValueError:
        return str(value)
    return value
