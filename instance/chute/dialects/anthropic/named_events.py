"""Cutting a stream of named server-sent events, each with its bytes as they arrived."""

from __future__ import annotations

import re
from typing import NamedTuple

import orjson

from instance.chute.answer import JSON
from instance.chute.stream import EVENT_MAX_BYTES, StreamBroken

_END = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2}")


class NamedEvent(NamedTuple):
    """One event: `raw` with its blank line, `obj` its decoded data (`None` for a comment)."""

    raw: bytes
    obj: JSON | None


class NamedEvents:
    """Joins blocks and gives the events that are complete. Lines may end in LF, CRLF or CR."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, block: bytes) -> list[NamedEvent]:
        """The events that are complete with this block. Raises `StreamBroken`."""
        data = self._rest + block
        # A CR at the end may be half of a line's end; it is looked at with what follows.
        readable = len(data) - 1 if data.endswith(b"\r") else len(data)
        events: list[NamedEvent] = []
        start = 0
        for end in _END.finditer(data, 0, readable):
            events.append(_event(data[start : end.end()]))
            start = end.end()
        self._rest = data[start:]
        if len(self._rest) > EVENT_MAX_BYTES:
            raise StreamBroken("an event of the stream is larger than 4 MiB")
        return events

    def close(self) -> list[NamedEvent]:
        """What was left without its blank line when the stream ended."""
        rest, self._rest = self._rest, b""
        return [_event(rest)] if rest.strip() else []


def _event(raw: bytes) -> NamedEvent:
    data = []
    for line in raw.splitlines():
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif line and not line.startswith((b":", b"event:", b"id:", b"retry:")):
            raise StreamBroken("a line of the stream is no field of a server-sent event")
    if not data:
        return NamedEvent(raw, None)
    try:
        obj = orjson.loads(b"\n".join(data))
    except orjson.JSONDecodeError as error:
        raise StreamBroken("an event of the stream is not JSON") from error
    if not isinstance(obj, dict):
        raise StreamBroken("an event of the stream is not a JSON object")
    return NamedEvent(raw, obj)
