"""Canonical chunks as the event stream of `POST /v1/messages`."""

from __future__ import annotations

from typing import Any

import orjson

from instance.chute.answer import JSON, Delta
from instance.chute.dialects.anthropic.caller_answer import stop_reason, wire_message_id, wire_usage
from instance.chute.dialects.anthropic.foreign_thinking import foreign_block
from instance.core.errors import StockyardError, error_body


def event_bytes(data: JSON) -> bytes:
    """One event, named for its type."""
    kind: str = data["type"]
    return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps(data) + b"\n\n"


def error_event(error: StockyardError, request_id: str, trace_id: str) -> bytes:
    return event_bytes({"type": "error", **error_body(error, request_id, trace_id)})


class EventWriter:
    """Writes one stream. Each change from thinking to text to a call ends a block and begins the next; the reason to stop and
    the usage leave together when the stream ends."""

    def __init__(self, message_id: str) -> None:
        self._id = message_id
        self._started = False
        self._next = 0
        self._open = -1
        self._kind = ""
        self._tools: dict[int, int] = {}
        self._finish: Any = None
        self._usage: Any = None
        self._own: JSON = {}

    def event(self, delta: Delta) -> bytes:
        obj = delta.obj
        if obj is None:
            return b""
        out: list[bytes] = []
        if not self._started:
            self._begin(obj, out)
        if obj.get("usage"):
            self._usage = obj["usage"]
        if isinstance(obj.get("anthropic"), dict):
            self._own.update(obj["anthropic"])
        for choice in obj.get("choices") or ():
            if choice.get("index", 0) == 0:
                self._take(choice, out)
        return b"".join(out)

    def rewritten(self, delta: Delta) -> bytes:
        return self.event(delta)

    def end(self) -> bytes:
        out: list[bytes] = []
        if not self._started:
            self._begin({}, out)
        self._close(out)
        usage = wire_usage(self._usage, self._own)
        last = {
            "stop_reason": stop_reason(self._finish, self._own) or "end_turn",
            "stop_sequence": self._own.get("stop_sequence"),
        }
        out.append(event_bytes({"type": "message_delta", "delta": last, "usage": usage}))
        out.append(event_bytes({"type": "message_stop"}))
        return b"".join(out)

    def error(self, error: StockyardError, request_id: str, trace_id: str) -> bytes:
        return error_event(error, request_id, trace_id)

    def _begin(self, obj: JSON, out: list[bytes]) -> None:
        self._started = True
        message: JSON = {
            "id": wire_message_id(obj.get("id"), self._id),
            "type": "message",
            "role": "assistant",
            "model": obj.get("model") or "",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": wire_usage(obj.get("usage"), {}),
        }
        out.append(event_bytes({"type": "message_start", "message": message}))
        out.append(event_bytes({"type": "ping"}))

    def _take(self, choice: JSON, out: list[bytes]) -> None:
        delta = choice.get("delta") or {}
        details = delta.get("reasoning_details")
        if delta.get("reasoning_content") or details:
            self._think(delta.get("reasoning_content"), details or (), out)
        text = delta.get("content") or delta.get("refusal")
        if isinstance(text, str) and text:
            self._in_block("text", {"type": "text", "text": ""}, out)
            self._piece({"type": "text_delta", "text": text}, out)
        own = delta.get("anthropic")
        if isinstance(own, dict):
            self._native(own, out)
        for call in delta.get("tool_calls") or ():
            self._call(call, out)
        if choice.get("finish_reason") is not None:
            self._finish = choice["finish_reason"]

    def _think(self, text: Any, details: Any, out: list[bytes]) -> None:
        if isinstance(text, str) and text:
            self._in_block("thinking", {"type": "thinking", "thinking": "", "signature": ""}, out)
            self._piece({"type": "thinking_delta", "thinking": text}, out)
        for detail in details:
            if not isinstance(detail, dict):
                continue
            foreign = detail.get("provider", "anthropic") != "anthropic"
            if detail.get("type") == "reasoning.encrypted":
                block = foreign_block(detail) if foreign else {"type": "redacted_thinking", "data": detail["data"]}
                self._whole(block, out)
            elif detail.get("signature"):
                signature = foreign_block({**detail, "text": ""})["signature"] if foreign else detail["signature"]
                self._in_block("thinking", {"type": "thinking", "thinking": "", "signature": ""}, out)
                self._piece({"type": "signature_delta", "signature": signature}, out)
                self._close(out)

    def _native(self, own: JSON, out: list[bytes]) -> None:
        if isinstance(own.get("content_block"), dict):
            self._whole(own["content_block"], out)
        if own.get("citation") is not None:
            self._in_block("text", {"type": "text", "text": ""}, out)
            self._piece({"type": "citations_delta", "citation": own["citation"]}, out)

    def _call(self, call: JSON, out: list[bytes]) -> None:
        number = call.get("index", 0)
        function = call.get("function") or {}
        if number not in self._tools:
            block: JSON = {
                "type": "tool_use",
                "id": call.get("id") or "",
                "name": function.get("name") or "",
                "input": {},
            }
            self._close(out)
            self._in_block("tool_use", block, out)
            self._tools[number] = self._open
        if function.get("arguments"):
            piece = {"type": "input_json_delta", "partial_json": function["arguments"]}
            # Pieces of parallel calls may come in turns; the index says whose they are.
            out.append(event_bytes({"type": "content_block_delta", "index": self._tools[number], "delta": piece}))

    def _in_block(self, kind: str, block: JSON, out: list[bytes]) -> None:
        if self._open >= 0 and self._kind == kind:
            return
        self._close(out)
        self._open, self._kind = self._next, kind
        self._next += 1
        out.append(event_bytes({"type": "content_block_start", "index": self._open, "content_block": block}))

    def _whole(self, block: JSON, out: list[bytes]) -> None:
        self._close(out)
        self._in_block(block["type"], block, out)
        self._close(out)

    def _piece(self, delta: JSON, out: list[bytes]) -> None:
        out.append(event_bytes({"type": "content_block_delta", "index": self._open, "delta": delta}))

    def _close(self, out: list[bytes]) -> None:
        if self._open >= 0:
            out.append(event_bytes({"type": "content_block_stop", "index": self._open}))
            self._open, self._kind = -1, ""
