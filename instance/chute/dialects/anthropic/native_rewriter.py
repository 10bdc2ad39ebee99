"""A stream that came in the caller's own dialect: only events that a module changed are written anew."""

from __future__ import annotations

from typing import Any

from instance.chute.answer import JSON, Delta
from instance.chute.dialects.anthropic.answer import STOP_REASONS
from instance.chute.dialects.anthropic.caller_answer import STOPS
from instance.chute.dialects.anthropic.event_reader import AnthropicReader
from instance.chute.dialects.anthropic.event_writer import error_event, event_bytes
from instance.chute.dialects.anthropic.named_events import NamedEvents
from instance.core.errors import StockyardError


class NativeRewriter:
    """Writes changed events of the stream that `reader` reads. Text that a module held back until its block was over leaves as
    a block of its own at the end."""

    def __init__(self, reader: AnthropicReader) -> None:
        self._reader = reader
        self._waiting = ""
        self._added = 0

    def event(self, delta: Delta) -> bytes:
        return delta.raw

    def rewritten(self, delta: Delta) -> bytes:
        obj = delta.obj or {}
        choice: JSON = next(iter(obj.get("choices") or ()), {})
        said = choice.get("delta") or {}
        text = said.get("content")
        text = text if isinstance(text, str) else ""
        event = NamedEvents().feed(delta.raw) if delta.raw else []
        data = event[0].obj if event else None
        if data is None:
            return self._released(text)
        if data["type"] == "content_block_delta":
            return self._piece(data, said, text)
        if data["type"] == "message_delta":
            self._waiting += text
            return self._flush() + event_bytes(_stopped(data, choice.get("finish_reason")))
        block = data.get("content_block") or {}
        if block.get("type") == "text":
            return event_bytes({**data, "content_block": {**block, "text": self._taken() + text}})
        self._waiting += text
        return delta.raw

    def end(self) -> bytes:
        """What still waits, and the stream's own last event."""
        return self._flush() + (self._reader.last_event or event_bytes({"type": "message_stop"}))

    def error(self, error: StockyardError, request_id: str, trace_id: str) -> bytes:
        return error_event(error, request_id, trace_id)

    def _piece(self, data: JSON, said: JSON, text: str) -> bytes:
        delta = data["delta"]
        kind = delta["type"]
        if kind == "text_delta":
            text = self._taken() + text
            return event_bytes({**data, "delta": {**delta, "text": text}}) if text else b""
        self._waiting += text
        if kind == "thinking_delta":
            thought = said.get("reasoning_content") or ""
            return event_bytes({**data, "delta": {**delta, "thinking": thought}})
        if kind == "input_json_delta":
            return event_bytes({**data, "delta": {**delta, "partial_json": _arguments(said)}})
        return event_bytes(data)

    def _released(self, text: str) -> bytes:
        """Text that was held back when the stream broke: it goes on where the text stopped."""
        self._waiting += text
        index = self._reader.open_block
        if index >= 0 and self._reader.writes_text and self._waiting:
            delta = {"type": "text_delta", "text": self._taken()}
            return event_bytes({"type": "content_block_delta", "index": index, "delta": delta})
        return self._flush()

    def _flush(self) -> bytes:
        if not self._waiting:
            return b""
        index = self._reader.next_block + self._added
        self._added += 1
        return (
            event_bytes({"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}})
            + event_bytes(
                {
                    "type": "content_block_delta",
                    "index": index,
                    "delta": {"type": "text_delta", "text": self._taken()},
                }
            )
            + event_bytes({"type": "content_block_stop", "index": index})
        )

    def _taken(self) -> str:
        waiting, self._waiting = self._waiting, ""
        return waiting


def _arguments(said: JSON) -> str:
    pieces = [(call.get("function") or {}).get("arguments") or "" for call in said.get("tool_calls") or ()]
    return "".join(pieces)


def _stopped(data: JSON, finish: Any) -> JSON:
    """The event with the reason to stop that the chunk has now."""
    delta = data["delta"]
    if finish is None or STOP_REASONS.get(delta.get("stop_reason") or "end_turn", "stop") == finish:
        return data
    return {**data, "delta": {**delta, "stop_reason": STOPS.get(finish, "end_turn"), "stop_sequence": None}}
