"""Recorded answers: taken as a provider gave them, found again by the hash of their request."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple, cast

import orjson

from instance.chute.answer import JSON, Answer, Delta
from instance.chute.exchange import Exchange
from instance.chute.modules.caching.stream_replay import Assembly, replay
from instance.chute.stream import EventSplitter, encode_event
from instance.chute.text import rewrite_answer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from instance.core.clock import Clock

RECORDINGS_MAX = 10_000
"""Beyond it the oldest go."""
RECORDED_MAX_BYTES = 4 << 20
CANONICAL = "openai.chat"
NOT_IN_HASH = frozenset(("stream", "stream_options", "user", "metadata", "model"))


class Recording(NamedTuple):
    """One recorded answer. `body` is the whole answer, `events` the bytes of a stream; one of them may be empty."""

    key: str
    kind: str
    model: str
    body: bytes
    events: bytes
    native: str
    recorded_at_ns: int


def request_hash(x: Exchange) -> str:
    """The hash of all of the request that can change its answer, in hex; the same whole and streamed, another for each client."""
    asked = {name: value for name, value in x.req.items() if name not in NOT_IN_HASH}
    of_client = (x.client,) if x.client else ()
    made = orjson.dumps((x.kind, x.model_requested, asked, *of_client), option=orjson.OPT_SORT_KEYS)
    return sha256(made).hexdigest()


class Taking:
    """Takes one call's answer as it comes; `recording` is what was taken once the call is over."""

    __slots__ = ("_body", "_events", "_native", "key")

    def __init__(self, key: str) -> None:
        self.key = key
        self._body = b""
        self._events = b""
        self._native = CANONICAL

    def whole(self, answer: Answer) -> None:
        """Take a whole answer, before later hooks change it."""
        self._native = answer.native
        if answer.body is not None and not answer.changed:
            self._body = answer.body
        elif answer.obj is not None:
            self._body, self._native = orjson.dumps(answer.obj), CANONICAL

    async def watched(self, answer: Answer, events: AsyncIterator[list[Delta]]) -> AsyncIterator[list[Delta]]:
        """The same events, taken as they pass."""
        assembly, raw, size = Assembly(), [], 0
        async with aclosing(cast("AsyncGenerator[list[Delta], None]", events)):
            async for batch in events:
                for delta in batch:
                    assembly.add(delta)
                    event = encode_event(delta.obj) if delta.changed and delta.obj is not None else delta.raw
                    size += len(event)
                    if size <= RECORDED_MAX_BYTES:
                        raw.append(event)
                if any(delta.raw == b"data: [DONE]\n\n" for delta in batch):
                    self._take(assembly, raw if answer.native == CANONICAL and size <= RECORDED_MAX_BYTES else [])
                yield batch

    def _take(self, assembly: Assembly, raw: list[bytes]) -> None:
        made = assembly.whole()
        self._body = orjson.dumps(made) if made is not None else b""
        self._events = b"".join(raw)

    def recording(self, x: Exchange, now_ns: int) -> Recording | None:
        """What is to be stored, in the form in which texts may be; `None` for an answer that is not whole or too large."""
        body, events, native = self._body, self._events, self._native
        if not (body or events) or len(body) > RECORDED_MAX_BYTES or x.error_code or x.client_gone:
            return None
        redact: Callable[[str], str] | None = x.state.get("redact")
        if x.stored_response is not None:
            body, events, native = x.stored_response, b"", CANONICAL
        elif redact is not None and body:
            clean = redact
            obj = orjson.loads(body)
            stored = rewrite_answer(obj, lambda text, place: clean(text))
            if stored is not obj:
                body, events = orjson.dumps(stored), b""
        return Recording(self.key, x.kind, x.model_requested, body, events, native, now_ns)


def played(recording: Recording, x: Exchange, clock: Clock, tokens_per_s: int) -> Answer:
    """The recorded answer for a call, whole or as a stream."""
    obj: JSON = orjson.loads(recording.body) if recording.body else {}
    if not x.stream:
        if not obj:
            obj = _assembled(recording.events)
            return Answer(body=orjson.dumps(obj), obj=obj)
        x.usage.take(obj.get("usage"))
        return Answer(body=recording.body, obj=obj, native=recording.native)
    if recording.events:
        return Answer(events=_events(recording.events))
    return Answer(events=replay(obj, clock, tokens_per_s))


def _assembled(events: bytes) -> JSON:
    assembly = Assembly()
    for delta in EventSplitter().feed(events):
        assembly.add(delta)
    return assembly.whole() or {}


async def _events(events: bytes) -> AsyncIterator[list[Delta]]:
    yield EventSplitter().feed(events)


def find(connection: sqlite3.Connection, key: str) -> Recording | None:
    """The recording of a request."""
    row = connection.execute(
        "SELECT key, kind, model, body, events, native, recorded_at_ns FROM mock_recordings WHERE key = ?", (key,)
    ).fetchone()
    return Recording._make(row) if row is not None else None


def all_of(connection: sqlite3.Connection) -> list[Recording]:
    """Every recording, oldest first."""
    rows = connection.execute(
        "SELECT key, kind, model, body, events, native, recorded_at_ns FROM mock_recordings ORDER BY recorded_at_ns, key"
    )
    return [Recording._make(row) for row in rows]


def put(connection: sqlite3.Connection, recordings: Iterable[Recording]) -> None:
    """Store recordings; one of the same request is replaced."""
    connection.executemany(
        "INSERT OR REPLACE INTO mock_recordings (key, kind, model, body, events, native, recorded_at_ns) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        list(recordings),
    )
    connection.execute(
        "DELETE FROM mock_recordings WHERE key IN (SELECT key FROM mock_recordings ORDER BY recorded_at_ns DESC "
        "LIMIT -1 OFFSET ?)",
        (RECORDINGS_MAX,),
    )


def clear(connection: sqlite3.Connection) -> int:
    """Remove every recording; how many there were."""
    return connection.execute("DELETE FROM mock_recordings").rowcount
