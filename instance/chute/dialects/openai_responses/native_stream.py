"""A stream of a provider that speaks Responses, as canonical chunks that still know the event they came in."""

from __future__ import annotations

from collections.abc import Callable

import orjson

from instance.chute.answer import DONE, JSON, Delta
from instance.chute.dialects.openai_responses.errors import reported
from instance.chute.dialects.openai_responses.native_answer import finish_reason
from instance.chute.dialects.openai_responses.reasoning import opened
from instance.chute.dialects.openai_responses.response_object import chat_usage
from instance.chute.stream import EVENT_MAX_BYTES, StreamBroken

_TEXTS = {
    "response.output_text.delta": "content",
    "response.refusal.delta": "refusal",
    "response.reasoning_summary_text.delta": "reasoning_content",
    "response.reasoning_text.delta": "reasoning_content",
}
_LAST = frozenset(("response.completed", "response.incomplete"))


class NativeDelta(Delta):
    """`event` is the decoded event of the dialect. All are marked as changed, so that the encoder sees each of them: the
    later events repeat the texts of the earlier ones."""

    __slots__ = ("event",)

    def __init__(self, raw: bytes, obj: JSON | None, event: JSON) -> None:
        super().__init__(raw, obj)
        self.event = event
        self.changed = True


class NativeReader:
    """Cuts the stream into events wherever the blocks are cut."""

    def __init__(self, made: Callable[[str], None]) -> None:
        self.done = False
        self._made = made
        self._rest = b""
        self._broken: StreamBroken | None = None
        self._head: JSON = {"object": "chat.completion.chunk"}
        self._calls: dict[int, int] = {}
        """The index of an output item -> the index of its tool call."""

    def feed(self, block: bytes) -> list[Delta]:
        if self._broken is not None:
            raise self._broken
        data = self._rest + block
        if b"\r" in data:
            tail = b"\r" if data.endswith(b"\r") else b""
            data = data[: len(data) - len(tail)].replace(b"\r\n", b"\n").replace(b"\r", b"\n") + tail
        parts = data.split(b"\n\n")
        self._rest = parts.pop()
        found: list[Delta] = []
        try:
            if len(self._rest) > EVENT_MAX_BYTES:
                raise StreamBroken("an event of the stream is larger than 4 MiB")
            for part in parts:
                if part.strip(b"\n"):
                    self._event(part.strip(b"\n"), found)
        except StreamBroken as broken:
            self._broken = broken
            if not found:
                raise
        return found

    def close(self) -> list[Delta]:
        rest, self._rest = self._rest.strip(b"\r\n"), b""
        return self.feed(rest + b"\n\n") if rest else []

    def _event(self, part: bytes, found: list[Delta]) -> None:
        data: list[bytes] = []
        for line in part.split(b"\n"):
            if line.startswith(b"data:"):
                data.append(line[6:] if line.startswith(b"data: ") else line[5:])
            elif line and not line.startswith((b":", b"event:", b"id:", b"retry:")):
                raise StreamBroken("a line of the stream is no field of a server-sent event")
        payload = b"\n".join(data)
        if not payload or payload == b"[DONE]":
            return
        try:
            event = orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise StreamBroken("an event of the stream is not JSON") from error
        if not isinstance(event, dict) or not isinstance(event.get("type"), str):
            raise StreamBroken("an event of the stream is no event of Responses")
        try:
            self._read(part + b"\n\n", event, found)
        except (AttributeError, TypeError, KeyError) as error:
            raise StreamBroken(f"an event {event['type']!r} of the stream is malformed") from error

    def _read(self, raw: bytes, event: JSON, found: list[Delta]) -> None:
        kind: str = event["type"]
        if kind in ("error", "response.failed"):
            found.append(NativeDelta(raw, reported(event), event))
            return
        if kind in _LAST:
            response = event["response"]
            found.append(NativeDelta(raw, self._chunk({}, finish_reason(response, bool(self._calls))), event))
            usage = chat_usage(response.get("usage"))
            if usage is not None:
                found.append(Delta(b"", {**self._head, "choices": [], "usage": usage}))
            found.append(Delta(DONE, None))
            self.done = True
            return
        found.append(NativeDelta(raw, self._chunk(self._delta(kind, event)), event))

    def _chunk(self, delta: JSON, finish: str | None = None) -> JSON:
        return {**self._head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    def _delta(self, kind: str, event: JSON) -> JSON:
        text = _TEXTS.get(kind)
        if text is not None:
            return {text: event["delta"]}
        if kind in ("response.function_call_arguments.delta", "response.custom_tool_call_input.delta"):
            return self._arguments(event, event["delta"])
        if kind == "response.output_item.added":
            return self._added(event)
        if kind == "response.output_item.done":
            details = opened(event["item"].get("encrypted_content"))
            return {"reasoning_details": details} if details else {}
        if kind == "response.created":
            response = event["response"]
            self._made(str(response.get("id") or ""))
            created = int(response.get("created_at") or 0)
            self._head = {**self._head, "id": response.get("id"), "created": created, "model": response.get("model")}
            return {"role": "assistant"}
        return {}

    def _arguments(self, event: JSON, piece: str) -> JSON:
        number = self._calls.get(event["output_index"])
        if number is None:
            return {}
        return {"tool_calls": [{"index": number, "function": {"arguments": piece}}]}

    def _added(self, event: JSON) -> JSON:
        item = event["item"]
        kind = item.get("type")
        if kind not in ("function_call", "custom_tool_call"):
            return {}
        number = self._calls[event["output_index"]] = len(self._calls)
        function = {"name": item.get("name"), "arguments": ""}
        return {"tool_calls": [{"index": number, "id": item.get("call_id"), "type": "function", "function": function}]}
