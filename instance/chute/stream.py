"""Cutting a provider's stream of bytes into server-sent events, wherever the blocks are cut."""

from __future__ import annotations

import orjson

from instance.chute.answer import DONE, JSON, Delta

EVENT_MAX_BYTES = 4 << 20


class StreamBroken(Exception):
    """The provider's stream is not one of server-sent events with JSON in them."""


class EventSplitter:
    """Turns blocks of bytes into events; what is not yet a whole event waits for the next block.

    Lines may end in LF, CRLF or CR LF mixed; events leave with LF. `data:` lines of one event are joined.
    """

    __slots__ = ("_broken", "_rest", "done")

    def __init__(self) -> None:
        self._rest = b""
        self._broken: StreamBroken | None = None
        self.done = False

    def feed(self, block: bytes) -> list[Delta]:
        """The events that are complete with this block. Raises `StreamBroken`; good events before the broken one come first."""
        if self._broken is not None:
            raise self._broken
        if self._rest:
            block = self._rest + block
        if b"\r" in block:
            tail = b"\r" if block.endswith(b"\r") else b""
            block = block[: len(block) - len(tail)].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        else:
            tail = b""
        parts = block.split(b"\n\n")
        rest = parts.pop()
        events: list[Delta] = []
        try:
            if len(rest) > EVENT_MAX_BYTES:
                raise StreamBroken("an event of the stream is larger than 4 MiB")
            self._rest = rest + tail
            for part in parts:
                if part.startswith(b"data: {") and b"\n" not in part:
                    try:
                        obj = orjson.loads(part[6:])
                    except orjson.JSONDecodeError as error:
                        raise StreamBroken("an event of the stream is not JSON") from error
                    events.append(Delta(part + b"\n\n", obj))
                elif part:
                    self._unusual(part, events)
        except StreamBroken as broken:
            self._broken = broken
            if not events:
                raise
        return events

    def close(self) -> list[Delta]:
        """What was left without its blank line when the stream ended. Raises `StreamBroken`."""
        if self._broken is not None:
            raise self._broken
        rest, self._rest = self._rest.strip(b"\r\n"), b""
        return self.feed(rest + b"\n\n") if rest else []

    def _unusual(self, part: bytes, events: list[Delta]) -> None:
        data: list[bytes] = []
        for line in part.split(b"\n"):
            if line.startswith(b"data:"):
                value = line[5:]
                data.append(value[1:] if value.startswith(b" ") else value)
            elif line and not line.startswith((b":", b"event:", b"id:", b"retry:")):
                raise StreamBroken("a line of the stream is no field of a server-sent event")
        if not data:
            return
        payload = b"\n".join(data)
        if payload == b"[DONE]":
            self.done = True
            events.append(Delta(DONE, None))
            return
        try:
            obj = orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise StreamBroken("an event of the stream is not JSON") from error
        if not isinstance(obj, dict):
            raise StreamBroken("an event of the stream is not a JSON object")
        events.append(Delta(b"data: " + payload.replace(b"\n", b"") + b"\n\n", obj))


def encode_event(obj: JSON) -> bytes:
    """One event with `obj` as its data."""
    return b"data: " + orjson.dumps(obj) + b"\n\n"


def has_content(delta: Delta) -> bool:
    """Whether the event carries something of the answer itself: more than a role."""
    obj = delta.obj
    if obj is None:
        return False
    for choice in obj.get("choices") or ():
        if choice.get("finish_reason") is not None:
            return True
        part = choice.get("delta")
        if part:
            for name, value in part.items():
                if name != "role" and value:
                    return True
    return False
