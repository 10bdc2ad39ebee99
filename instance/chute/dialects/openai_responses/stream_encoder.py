"""Canonical chunks as the events of a streamed response."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from instance.chute.answer import JSON, Delta
from instance.chute.dialects.openai_responses.call import ResponseCall
from instance.chute.dialects.openai_responses.errors import error_code
from instance.chute.dialects.openai_responses.open_items import (
    Event,
    OpenCall,
    OpenItem,
    OpenMessage,
    OpenReasoning,
)
from instance.chute.dialects.openai_responses.output_items import token_logprobs, url_citations
from instance.chute.dialects.openai_responses.response_object import failed, finished, item_status
from instance.core.errors import StockyardError


def event_bytes(kind: str, number: int, fields: JSON) -> bytes:
    """One server-sent event: `kind` is its whole type."""
    data = orjson.dumps({"type": kind, "sequence_number": number, **fields})
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), data)


class ResponseEncoder:
    """One stream. Items stay open until the end, but for reasoning, which ends where something is said or called: a module
    may hold back the end of a text until the last chunk."""

    def __init__(self, call: ResponseCall, now_s: Callable[[], int]) -> None:
        self._call = call
        self._now_s = now_s
        self._number = 0
        self._response: JSON = {}
        self._items: list[OpenItem] = []
        self._closed: dict[int, JSON] = {}
        self._reasoning: int | None = None
        self._message: OpenMessage | None = None
        self._calls: dict[int, OpenCall] = {}
        self._finish_reason: Any = None
        self._usage: Any = None

    def event(self, delta: Delta) -> bytes:
        """What one canonical chunk becomes; nothing for a chunk that says nothing new."""
        obj = delta.obj
        if obj is None:
            return b""
        out: list[bytes] = []
        if not self._response:
            self._begin(str(obj.get("model") or ""), out)
        if obj.get("usage"):
            self._usage = obj["usage"]
        for choice in obj.get("choices") or ():
            if choice.get("index", 0) != 0:
                continue
            self._delta(choice.get("delta") or {}, choice.get("logprobs"), out)
            if choice.get("finish_reason") is not None:
                self._finish_reason = choice["finish_reason"]
        return b"".join(out)

    def rewritten(self, delta: Delta) -> bytes:
        """Only what came in the caller's dialect is rewritten, and this encoder serves what did not."""
        return self.event(delta)

    def end(self) -> bytes:
        """The items' last events and `response.completed` or `response.incomplete`; the response is stored."""
        out: list[bytes] = []
        if not self._response:
            self._begin("", out)
        if not self._items:
            self._say("", [], out)
        status = item_status(self._finish_reason)
        self._close_all(status, out)
        output = [self._closed[index] for index in range(len(self._items))]
        response = finished(self._response, output, self._usage, self._finish_reason, self._now_s())
        self._emit(f"response.{response['status']}", {"response": response}, out)
        self._call.keep(response, len(out[-1]))
        return b"".join(out)

    def error(self, error: StockyardError, request_id: str, trace_id: str) -> bytes:
        """`response.failed` with what came until then, where the response had begun, and `event: error`."""
        out: list[bytes] = []
        if self._response:
            output = [self._closed.get(index) or item.item("incomplete") for index, item in enumerate(self._items)]
            response = failed(self._response, output, error_code(error), error.message)
            self._emit("response.failed", {"response": response}, out)
        self._emit(
            "error",
            {
                "code": error.code,
                "message": error.message,
                "param": error.param,
                "request_id": request_id,
                "trace_id": trace_id,
            },
            out,
        )
        return b"".join(out)

    def _begin(self, model: str, out: list[bytes]) -> None:
        self._response = self._call.skeleton(model)
        self._emit("response.created", {"response": self._response}, out)
        self._emit("response.in_progress", {"response": self._response}, out)

    def _delta(self, delta: JSON, logprobs: Any, out: list[bytes]) -> None:
        text = delta.get("reasoning_content") or delta.get("reasoning")
        details = delta.get("reasoning_details")
        if (isinstance(text, str) and text) or details:
            self._think(text if isinstance(text, str) else "", details, out)
        said = delta.get("content")
        if isinstance(said, str) and said:
            self._say(said, token_logprobs(logprobs), out)
        refusal = delta.get("refusal")
        if isinstance(refusal, str) and refusal:
            self._send(self._open_message(out).refusal(refusal), out)
        citations = url_citations(delta.get("annotations"))
        if citations:
            self._send(self._open_message(out).annotate(citations), out)
        for call in delta.get("tool_calls") or ():
            self._call_piece(call, out)

    def _think(self, text: str, details: Any, out: list[bytes]) -> None:
        if self._reasoning is None:
            self._reasoning = len(self._items)
            self._add(OpenReasoning(self._call.id, self._reasoning), out)
        item = self._items[self._reasoning]
        assert isinstance(item, OpenReasoning)
        if text:
            self._send(item.text(text), out)
        item.details(details)

    def _say(self, text: str, logprobs: list[JSON], out: list[bytes]) -> None:
        self._send(self._open_message(out).text(text, logprobs), out)

    def _open_message(self, out: list[bytes]) -> OpenMessage:
        if self._message is None:
            self._end_reasoning(out)
            self._message = OpenMessage(self._call.id, len(self._items))
            self._add(self._message, out)
        return self._message

    def _call_piece(self, piece: JSON, out: list[bytes]) -> None:
        number = piece.get("index")
        number = number if isinstance(number, int) else len(self._calls)
        function = piece.get("function")
        function = function if isinstance(function, dict) else {}
        item = self._calls.get(number)
        if item is None:
            self._end_reasoning(out)
            name = str(function.get("name") or "")
            custom = name in self._call.custom_tools
            item = OpenCall(self._call.id, len(self._items), str(piece.get("id") or ""), name, custom)
            self._calls[number] = item
            self._add(item, out)
        arguments = function.get("arguments")
        if isinstance(arguments, str) and arguments:
            self._send(item.arguments(arguments), out)

    def _add(self, item: OpenItem, out: list[bytes]) -> None:
        self._items.append(item)
        self._send(item.open(), out)

    def _end_reasoning(self, out: list[bytes]) -> None:
        if self._reasoning is not None:
            self._close(self._reasoning, "completed", out)
            self._reasoning = None

    def _close(self, index: int, status: str, out: list[bytes]) -> None:
        item = self._items[index]
        self._send(item.close(status), out)
        self._closed[index] = item.item(status)

    def _close_all(self, status: str, out: list[bytes]) -> None:
        self._reasoning = None
        for index in range(len(self._items)):
            if index not in self._closed:
                self._close(index, status, out)

    def _send(self, events: list[Event], out: list[bytes]) -> None:
        for kind, fields in events:
            self._emit(f"response.{kind}", fields, out)

    def _emit(self, kind: str, fields: JSON, out: list[bytes]) -> None:
        out.append(event_bytes(kind, self._number, fields))
        self._number += 1
