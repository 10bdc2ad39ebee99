"""An answer of ConverseStream as canonical chunks."""

from __future__ import annotations

from typing import Any

import orjson

from instance.chute.answer import JSON, Delta
from instance.chute.dialects.bedrock.answer import beyond, finish_reason, usage
from instance.chute.dialects.bedrock.errors import code_of, status_of
from instance.chute.dialects.bedrock.event_stream import EventStream, Message
from instance.chute.dialects.chat_chunks import ChunkWriter
from instance.chute.stream import StreamBroken, encode_event


class ConverseReader:
    """Reads the stream; `done` with `metadata`, which comes last, or at the end of the body after `messageStop`. A message
    whose checksum is wrong breaks the stream; what came before it is given first."""

    def __init__(
        self,
        model: str,
        created: int,
        answer_id: str,
        *,
        thinker: str = "bedrock",
        answer_tool: str = "",
        reasoning: bool = True,
    ) -> None:
        self.done = False
        self._stream = EventStream()
        self._chunks = ChunkWriter(model, created, answer_id)
        self._thinker = thinker
        self._answer_tool = answer_tool
        self._reasoning = reasoning
        self._in_answer = False
        self._answered = False
        self._stopped = False
        self._own: JSON = {}
        self._broken: StreamBroken | None = None

    def feed(self, block: bytes) -> list[Delta]:
        """The chunks that are complete with this block. Raises `StreamBroken`."""
        if self._broken is not None:
            raise self._broken
        messages, self._broken = self._stream.feed(block)
        deltas: list[Delta] = []
        for message in messages:
            if self.done:
                break
            try:
                self._take(message, deltas)
            except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
                self._broken = StreamBroken(f"a message of the stream is none of Converse's: {error!r}")
                break
        if self._broken is not None and not deltas:
            raise self._broken
        return deltas

    def close(self) -> list[Delta]:
        """The end, when the body ended after `messageStop`. Raises `StreamBroken` for half a message."""
        if self._broken is not None:
            raise self._broken
        if self._stopped and not self.done and self._stream.is_empty:
            self.done = True
            return self._chunks.end(None, **({"bedrock": self._own} if self._own else {}))
        return []

    def _take(self, message: Message, deltas: list[Delta]) -> None:
        headers = message.headers
        kind = headers.get(":message-type")
        if kind in ("exception", "error"):
            deltas.append(_reported(message))
            return
        event = orjson.loads(message.payload) if message.payload else {}
        name = headers.get(":event-type")
        if name == "contentBlockDelta":
            self._delta(event["delta"], event.get("contentBlockIndex", 0), deltas)
        elif name == "contentBlockStart":
            self._start(event["start"], deltas)
        elif name == "contentBlockStop":
            self._in_answer = False
        elif name == "messageStart":
            deltas.append(self._chunks.delta({"role": "assistant", "content": ""}))
        elif name == "messageStop":
            self._stopped = True
            self._own.update(beyond(event))
            reason = finish_reason(event["stopReason"], answered=self._answered, calls=self._chunks.has_tools())
            deltas.append(self._chunks.finish(reason))
        elif name == "metadata":
            self._own.update(beyond(event))
            self.done = True
            more = {"bedrock": self._own} if self._own else {}
            deltas += self._chunks.end(usage(event["usage"]), **more)

    def _start(self, start: JSON, deltas: list[Delta]) -> None:
        use = start.get("toolUse")
        if use is None:
            return
        if use["name"] == self._answer_tool:
            self._in_answer = self._answered = True
        else:
            deltas.append(self._chunks.begin_tool(use["toolUseId"], use["name"]))

    def _delta(self, delta: JSON, index: int, deltas: list[Delta]) -> None:
        if "text" in delta:
            deltas.append(self._chunks.text(delta["text"]))
        elif "toolUse" in delta:
            piece = delta["toolUse"].get("input") or ""
            if self._in_answer:
                deltas.append(self._chunks.text(piece))
            elif piece:
                deltas.append(self._chunks.tool_arguments(piece))
        elif "reasoningContent" in delta:
            if self._reasoning:
                deltas.append(self._thought(delta["reasoningContent"], index))
        else:
            deltas.append(self._chunks.delta({"bedrock": delta}))

    def _thought(self, content: JSON, index: int) -> Delta:
        about: dict[str, Any] = {"provider": self._thinker, "index": index}
        if "redactedContent" in content:
            detail = {"type": "reasoning.encrypted", "data": content["redactedContent"], **about}
            return self._chunks.delta({"reasoning_details": [detail]})
        if "signature" in content:
            detail = {"type": "reasoning.text", "text": "", "signature": content["signature"], **about}
            return self._chunks.delta({"reasoning_details": [detail]})
        text = content.get("text", "")
        detail = {"type": "reasoning.text", "text": text, **about}
        return self._chunks.delta({"reasoning_content": text, "reasoning_details": [detail]})


def _reported(message: Message) -> Delta:
    """An exception frame as the failure that it stands for."""
    headers = message.headers
    name = headers.get(":exception-type") or headers.get(":error-code") or "internalServerException"
    try:
        payload = orjson.loads(message.payload) if message.payload else {}
    except orjson.JSONDecodeError:
        payload = {}
    said = payload.get("message") if isinstance(payload, dict) else None
    text = said or headers.get(":error-message") or f"The provider broke its answer off: {name}."
    obj: JSON = {"error": {"message": text, "type": name, "code": code_of(name) or name, "status": status_of(name)}}
    return Delta(encode_event(obj), obj)
