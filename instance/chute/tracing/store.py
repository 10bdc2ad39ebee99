"""The table of spans: written in batches, read as a waterfall, cleared by age."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import orjson

from instance.chute.tracing.spans import Span

WATERFALL_MAX = 5000
DELETED_AT_ONCE = 2000

_COLUMNS = (
    "trace_id, span_id, parent_span_id, call_id, session_id, name, kind, start_ns, end_ns, error, attributes, events"
)


def insert_spans(connection: sqlite3.Connection, spans: Sequence[Span]) -> None:
    """Write the spans; one that is there already stays as it is."""
    connection.executemany(
        f"INSERT OR IGNORE INTO spans ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                span.trace_id,
                span.span_id,
                span.parent_span_id,
                span.call_id,
                span.session,
                span.name,
                span.kind,
                span.start_ns,
                span.end_ns,
                span.error,
                orjson.dumps(span.attributes).decode(),
                orjson.dumps(span.events).decode(),
            )
            for span in spans
        ],
    )


def waterfall(connection: sqlite3.Connection, *, trace_id: str = "", session: str = "") -> list[Span]:
    """The spans of one trace, or of all traces of one session, by start; at most `WATERFALL_MAX`."""
    where, value = ("trace_id = ?", trace_id) if trace_id else ("session_id = ? AND session_id <> ''", session)
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM spans WHERE {where} ORDER BY start_ns, end_ns DESC LIMIT {WATERFALL_MAX}", (value,)
    )
    return [
        Span(
            trace_id=row[0],
            span_id=row[1],
            parent_span_id=row[2],
            call_id=row[3],
            session=row[4],
            name=row[5],
            kind=row[6],
            start_ns=row[7],
            end_ns=row[8],
            error=row[9],
            attributes=orjson.loads(row[10]),
            events=[(name, at) for name, at in orjson.loads(row[11])],
        )
        for row in rows
    ]


def delete_spans(connection: sqlite3.Connection, before_ns: int) -> int:
    """Delete spans that began before `before_ns`, at most `DELETED_AT_ONCE`; how many it were."""
    return connection.execute(
        "DELETE FROM spans WHERE (trace_id, span_id) IN "
        f"(SELECT trace_id, span_id FROM spans WHERE start_ns < ? LIMIT {DELETED_AT_ONCE})",
        (before_ns,),
    ).rowcount
