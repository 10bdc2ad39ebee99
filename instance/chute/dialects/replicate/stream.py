"""The events of a prediction's stream as canonical chunks."""

from __future__ import annotations

from typing import NamedTuple

import orjson

from instance.chute.answer import JSON, Delta
from instance.chute.dialects.chat_chunks import ChunkWriter, reported_error
from instance.chute.dialects.replicate.prediction import own_fields, usage, why_failed
from instance.chute.dialects.translating_reader import TranslatingReader
from instance.chute.stream import EVENT_MAX_BYTES, StreamBroken

LAST = "prediction"
"""The event that the shim adds at the end: the whole prediction, with its counts."""


class TextEvent(NamedTuple):
    """A server-sent event whose data is text, not JSON."""

    name: str
    data: str


class TextEventSplitter:
    """Cuts a body into events with their names, wherever the blocks are cut. Line ends are LF, CRLF or CR."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, block: bytes) -> list[TextEvent]:
        """The events that are complete. Raises `StreamBroken`."""
        raw = self._rest + block
        tail = b"\r" if raw.endswith(b"\r") else b""
        raw = raw[: len(raw) - len(tail)].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *parts, rest = raw.split(b"\n\n")
        if len(rest) > EVENT_MAX_BYTES:
            raise StreamBroken("an event of the stream is larger than 4 MiB")
        self._rest = rest + tail
        return [event for part in parts if (event := _event(part)) is not None]

    def close(self) -> list[TextEvent]:
        """What was left without its blank line when the body ended."""
        rest, self._rest = self._rest, b""
        event = _event(rest.rstrip(b"\r\n"))
        return [event] if event is not None else []


def _event(part: bytes) -> TextEvent | None:
    name = "message"
    data: list[str] = []
    for line in part.decode("utf-8", "replace").split("\n"):
        field, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)
    return TextEvent(name, "\n".join(data)) if data or name != "message" else None


def encode_text_event(name: str, data: str) -> bytes:
    """One event, its data split into lines."""
    lines = "".join(f"data: {line}\n" for line in data.split("\n"))
    return f"event: {name}\n{lines}\n".encode()


class ReplicateReader(TranslatingReader):
    """Reads the events `output`, `error` and `prediction` (see `LAST`), with which it is `done`."""

    def __init__(self, model: str, created: int, answer_id: str) -> None:
        super().__init__()
        self._events = TextEventSplitter()
        self._chunks = ChunkWriter(model, created, answer_id)

    def split(self, block: bytes) -> list[JSON]:
        return [event._asdict() for event in self._events.feed(block)]

    def split_rest(self) -> list[JSON]:
        return [event._asdict() for event in self._events.close()]

    def take(self, obj: JSON, events: list[Delta]) -> None:
        name, data = obj["name"], obj["data"]
        if name == "output":
            if data:
                events.append(self._chunks.text(data))
        elif name == "error":
            events.append(reported_error(f"The prediction failed: {_detail(data)}", 502))
        elif name == LAST:
            self._end(orjson.loads(data), events)

    def _end(self, prediction: JSON, events: list[Delta]) -> None:
        status = prediction.get("status")
        if status == "failed":
            events.append(reported_error(f"The prediction failed: {why_failed(prediction)}", 502))
            return
        if status in ("canceled", "aborted"):
            events.append(reported_error("The prediction was canceled at Replicate.", 499, "client_closed"))
            return
        events.append(self._chunks.finish("stop"))
        events += self._chunks.end(usage(prediction), replicate=own_fields(prediction))
        self.done = True


def _detail(data: str) -> str:
    try:
        read = orjson.loads(data)
    except orjson.JSONDecodeError:
        return data or "it does not say why"
    if isinstance(read, dict):
        return str(read.get("detail") or read.get("message") or data)
    return str(read)
