"""Captured streams: collected while they pass, stored in the form that may be stored, and read back for a replay."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from instance.chute.answer import JSON, Delta
from instance.chute.delta_text import delta_texts
from instance.chute.exact_bytes import exact
from instance.chute.stream import encode_event

DELETED_AT_ONCE = 500
EVENTS_MAX = 20_000
DEFLATE_LEVEL = 6

Redact = Callable[[str], str]


class StreamCapture:
    """The events of one stream with their times, up to `max_bytes` of JSON; beyond it `truncated` is set."""

    __slots__ = ("_max_bytes", "_packs", "count", "size_bytes", "truncated")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._packs: list[tuple[list[int], bytes]] = []
        self.count = 0
        self.size_bytes = 0
        self.truncated = False

    def add(self, events: list[tuple[int, list[JSON]]]) -> None:
        """Keep the next events (offset in microseconds, choices); nothing any more once something was left out. To write some of
        them as JSON together costs a fifth of one by one."""
        if self.truncated or self._takes(events):
            return
        for event in events:
            if not self._takes([event]):
                self.truncated = True
                return

    def _takes(self, events: list[tuple[int, list[JSON]]]) -> bool:
        count = len(events)
        data = orjson.dumps([choices for _, choices in events])
        size = len(data) - count - 1  # the events' own, without what stands around and between them
        if size > self._max_bytes - self.size_bytes or self.count + count > EVENTS_MAX:
            return False
        self.count += count
        self.size_bytes += size
        self._packs.append(([offset for offset, _ in events], exact(data)))
        return True

    def events(self) -> list[tuple[int, list[JSON]]]:
        """What was kept."""
        return [event for offsets, data in self._packs for event in zip(offsets, orjson.loads(data), strict=True)]


@dataclass(frozen=True, slots=True)
class Captured:
    """A stream that is over and waits to be stored."""

    trace_id: str
    created_at_ns: int
    team: str
    model: str
    done: bool
    capture: StreamCapture
    redact: Redact | None
    stored: bytes | None
    """The answer as it may be stored, where a module made another form of it."""

    def row(self) -> tuple[Any, ...]:
        """The row of the table. Takes milliseconds for a long stream: not for the event loop."""
        events = self.capture.events()
        _make_storable([choices for _, choices in events], self.redact, self.stored)
        data = zlib.compress(orjson.dumps(events), DEFLATE_LEVEL)
        return (
            self.trace_id,
            self.created_at_ns,
            self.team,
            self.model,
            int(self.capture.truncated),
            int(self.done),
            data,
        )


def _make_storable(events: Sequence[list[JSON]], redact: Redact | None, stored: bytes | None) -> None:
    """Put the stored form of each text in its place. One that differs is cut at the places of the original's pieces."""
    if redact is None and stored is None:
        return
    pieces: dict[str, list[tuple[JSON, str]]] = {}
    for choices in events:
        for place, holder, name, _ in delta_texts(Delta(b"", {"choices": choices})):
            pieces.setdefault(place, []).append((holder, name))
    given = _contents(stored) if stored is not None else {}
    for place, holders in pieces.items():
        text = "".join(holder[name] for holder, name in holders)
        kept = given.get(place, text)
        if redact is not None:
            kept = redact(kept)
        if kept == text:
            continue
        at = 0
        for number, (holder, name) in enumerate(holders, 1):
            end = at + len(holder[name]) if number < len(holders) else len(kept)
            holder[name] = kept[at:end]
            at = end


def _contents(stored: bytes) -> dict[str, str]:
    choices = orjson.loads(stored).get("choices") or []
    return {
        f"choices[{number}].content": choice["message"]["content"]
        for number, choice in enumerate(choices)
        if isinstance((choice.get("message") or {}).get("content"), str)
    }


def insert(rows: Sequence[tuple[Any, ...]], connection: sqlite3.Connection) -> None:
    """Write captured streams."""
    connection.executemany("INSERT OR REPLACE INTO stream_captures VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


def delete_before(connection: sqlite3.Connection, before_ns: int) -> int:
    """Delete streams of calls that began before, at most `DELETED_AT_ONCE`; how many it were."""
    return connection.execute(
        "DELETE FROM stream_captures WHERE trace_id IN "
        f"(SELECT trace_id FROM stream_captures WHERE created_at_ns < ? LIMIT {DELETED_AT_ONCE})",
        (before_ns,),
    ).rowcount


@dataclass(frozen=True, slots=True)
class Replay:
    """A stored stream: its events with their times in microseconds since the call's start."""

    trace_id: str
    created_at_ns: int
    model: str
    truncated: bool
    done: bool
    events: list[tuple[int, list[JSON]]]

    def event(self, number: int) -> bytes:
        """One event as a chat chunk, in the form of server-sent events."""
        return encode_event(
            {
                "id": self.trace_id,
                "object": "chat.completion.chunk",
                "created": self.created_at_ns // 10**9,
                "model": self.model,
                "choices": self.events[number][1],
            }
        )


def replay_of(connection: sqlite3.Connection, trace_id: str, team: str) -> Replay | None:
    """The stored stream of a trace; with `team`, only if it is that team's."""
    row = connection.execute(
        "SELECT trace_id, created_at_ns, model, truncated, done, events FROM stream_captures "
        "WHERE trace_id = ? AND (? = '' OR team_id = ?)",
        (trace_id, team, team),
    ).fetchone()
    if row is None:
        return None
    events = [(offset, choices) for offset, choices in orjson.loads(zlib.decompress(row[5]))]
    return Replay(row[0], row[1], row[2], bool(row[3]), bool(row[4]), events)
