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

_TEXT_OF = {
    "text": ("text_delta", "text"),
    "thinking": ("thinking_delta", "thinking"),
    "tool_use": ("input_json_delta", "partial_json"),
}
"""By the type of a content block: the type of its deltas, and their field with the text."""


class _Said:
    """What a changed chunk says, as it is taken to be written."""

    __slots__ = ("arguments", "text", "thought")

    def __init__(self, delta: JSON) -> None:
        text, thought = delta.get("content"), delta.get("reasoning_content")
        self.text = text if isinstance(text, str) else ""
        self.thought = thought if isinstance(thought, str) else ""
        self.arguments: dict[int, str] = {}
        """Pieces of arguments, by the number of their call."""
        for call in delta.get("tool_calls") or ():
            piece = (call.get("function") or {}).get("arguments") or ""
            if piece:
                number = call.get("index", 0)
                self.arguments[number] = self.arguments.get(number, "") + piece


class NativeRewriter:
    """Writes changed events of the stream that `reader` reads. What a module held back goes into the block that it belongs to
    while that is open; text whose block is over leaves as a block of its own at the end."""

    def __init__(self, reader: AnthropicReader) -> None:
        self._reader = reader
        self._waiting = ""
        self._added = 0

    def event(self, delta: Delta) -> bytes:
        return delta.raw

    def rewritten(self, delta: Delta) -> bytes:
        obj = delta.obj or {}
        choice: JSON = next(iter(obj.get("choices") or ()), {})
        said = _Said(choice.get("delta") or {})
        said.text = self._taken() + said.text
        events = NamedEvents().feed(delta.raw) if delta.raw else []
        out: list[bytes] = []
        if len(events) > 1 and events[0].obj is not None:
            # The end of a block, with what was still to be said in it before.
            out.append(self._rest_of(events[0].obj["index"], said))
            out.append(events[0].raw)
        event = events[-1] if events else None
        data = event.obj if event is not None else None
        last = b""
        if event is None or data is None:
            out.append(self._rest_of(self._reader.open_block, said))
        elif data["type"] == "content_block_delta":
            out.append(self._piece(data, said))
        elif data["type"] == "content_block_start":
            last = self._begun(data, said) or event.raw
        elif data["type"] == "message_delta":
            last = event_bytes(_stopped(data, choice.get("finish_reason")))
        else:
            last = event.raw
        out += [self._delta_of(self._reader.block_of_call(n), piece) for n, piece in said.arguments.items()]
        self._waiting = said.text
        finish = choice.get("finish_reason")
        if finish is not None and (data is None or data["type"] != "message_delta"):
            # A module ends the answer before the provider does.
            return b"".join((*out, last, self._ended(data, finish)))
        if data is None or data["type"] == "message_delta":
            out.append(self._flush())
        return b"".join((*out, last))

    def end(self) -> bytes:
        """What still waits, and the stream's own last event."""
        return self._flush() + (self._reader.last_event or event_bytes({"type": "message_stop"}))

    def error(self, error: StockyardError, request_id: str, trace_id: str) -> bytes:
        return error_event(error, request_id, trace_id)

    def _piece(self, data: JSON, said: _Said) -> bytes:
        """A piece of a block with what it says now; a piece of text that says nothing any more is left out."""
        index, delta = data["index"], data["delta"]
        kind = self._reader.kind_of(index)
        if kind not in _TEXT_OF or delta["type"] != _TEXT_OF[kind][0]:
            return event_bytes(data)
        now = self._take(index, said)
        return event_bytes({**data, "delta": {**delta, _TEXT_OF[kind][1]: now}}) if now or kind != "text" else b""

    def _begun(self, data: JSON, said: _Said) -> bytes:
        """The beginning of a block of text that has some already; empty for any other."""
        block = data.get("content_block") or {}
        if block.get("type") != "text":
            return b""
        return event_bytes({**data, "content_block": {**block, "text": self._take(data["index"], said)}})

    def _rest_of(self, index: int, said: _Said) -> bytes:
        now = self._take(index, said)
        return self._delta_of(index, now) if now else b""

    def _take(self, index: int, said: _Said) -> str:
        """What of the chunk belongs to the block, which is then said."""
        kind = self._reader.kind_of(index)
        if kind == "text":
            now, said.text = said.text, ""
        elif kind == "thinking":
            now, said.thought = said.thought, ""
        else:
            number = next((n for n in said.arguments if self._reader.block_of_call(n) == index), -1)
            now = said.arguments.pop(number, "")
        return now

    def _delta_of(self, index: int, text: str) -> bytes:
        kind = self._reader.kind_of(index)
        if kind not in _TEXT_OF:
            return b""
        name, field = _TEXT_OF[kind]
        return event_bytes({"type": "content_block_delta", "index": index, "delta": {"type": name, field: text}})

    def _ended(self, data: JSON | None, finish: Any) -> bytes:
        """The end of the block that the last event is of, if it is of one, and of the message."""
        index = data.get("index", -1) if data is not None else self._reader.open_block
        stop = self._reader.pending_end if data is None else b""
        if index >= 0:
            stop = event_bytes({"type": "content_block_stop", "index": index})
        delta = {"stop_reason": STOPS.get(finish, "end_turn"), "stop_sequence": None}
        usage = {"output_tokens": self._reader.output_tokens}
        return stop + self._flush() + event_bytes({"type": "message_delta", "delta": delta, "usage": usage})

    def _flush(self) -> bytes:
        if not self._waiting:
            return b""
        index = self._reader.next_block + self._added
        self._added += 1
        delta = {"type": "text_delta", "text": self._taken()}
        return (
            event_bytes({"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}})
            + event_bytes({"type": "content_block_delta", "index": index, "delta": delta})
            + event_bytes({"type": "content_block_stop", "index": index})
        )

    def _taken(self) -> str:
        waiting, self._waiting = self._waiting, ""
        return waiting


def _stopped(data: JSON, finish: Any) -> JSON:
    """The event with the reason to stop that the chunk has now."""
    delta = data["delta"]
    if finish is None or STOP_REASONS.get(delta.get("stop_reason") or "end_turn", "stop") == finish:
        return data
    return {**data, "delta": {**delta, "stop_reason": STOPS.get(finish, "end_turn"), "stop_sequence": None}}
