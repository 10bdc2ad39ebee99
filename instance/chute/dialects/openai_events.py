"""Streams of OpenAI's endpoints other than chat: events with a `type` that pass as they came, read only for their usage."""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING

import orjson

from instance.chute.answer import Delta
from instance.chute.stream import StreamBroken, encode_event

if TYPE_CHECKING:
    from instance.chute.operation import Operation
    from instance.core.errors import StockyardError

EVENT_MAX_BYTES = 32 << 20
"""An image in base64 is one event."""


class PassedEvents:
    """Cuts such a stream into events. It has no last event of its own: it is done when its body ends after an event of one of
    the `last` types."""

    __slots__ = ("_last", "_rest", "_seen", "done")

    def __init__(self, last: Set[str]) -> None:
        self._last = last
        self._rest = b""
        self._seen = False
        self.done = False

    @staticmethod
    def has_content(event: Delta) -> bool:
        """Every event of these streams is part of the answer."""
        return event.obj is not None

    def feed(self, block: bytes) -> list[Delta]:
        """The events that are complete with this block. Raises `StreamBroken`."""
        whole = (self._rest + block).replace(b"\r\n", b"\n")
        parts = whole.split(b"\n\n")
        self._rest = parts.pop()
        if len(self._rest) > EVENT_MAX_BYTES:
            raise StreamBroken("an event of the stream is larger than 32 MiB")
        return [event for part in parts if (event := self._event(part)) is not None]

    def close(self) -> list[Delta]:
        rest, self._rest = self._rest.strip(b"\r\n"), b""
        events = self.feed(rest + b"\n\n") if rest else []
        self.done = self._seen
        return events

    def _event(self, part: bytes) -> Delta | None:
        data = b"\n".join(
            line[5:].removeprefix(b" ") for line in part.strip(b"\n").split(b"\n") if line.startswith(b"data:")
        )
        if not data:
            return None
        if data == b"[DONE]":
            self._seen = True
            return Delta(part + b"\n\n", {"type": "done"})
        try:
            obj = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise StreamBroken("an event of the stream is not JSON") from error
        if not isinstance(obj, dict):
            raise StreamBroken("an event of the stream is not a JSON object")
        if obj.get("type") in self._last:
            self._seen = True
        return Delta(part + b"\n\n", obj)


class EventPasser:
    """Gives such events to the caller as they are."""

    __slots__ = ("_operation",)

    def __init__(self, operation: Operation) -> None:
        self._operation = operation

    def event(self, delta: Delta) -> bytes:
        return delta.raw or encode_event(delta.obj or {})

    def rewritten(self, delta: Delta) -> bytes:
        return encode_event(delta.obj or {})

    def end(self) -> bytes:
        return b""

    def error(self, error: StockyardError, request_id: str, trace_id: str) -> bytes:
        return encode_event(self._operation.error(error, request_id, trace_id))
