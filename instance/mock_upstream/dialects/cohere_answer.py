"""Answers in Cohere's form, whole and as events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from instance.mock_upstream.conversation import Said
from instance.mock_upstream.exchange import Event, sse

FINISH_REASONS = {"stop": "COMPLETE", "length": "MAX_TOKENS", "tool_calls": "TOOL_CALL", "content_filter": "ERROR"}


def usage_of(said: Said) -> dict[str, Any]:
    tokens = {"input_tokens": said.usage.prompt, "output_tokens": said.usage.completion}
    made: dict[str, Any] = {"billed_units": dict(tokens), "tokens": tokens}
    if said.usage.cached:
        made["cached_tokens"] = said.usage.cached
    return made


def _calls(said: Said) -> list[dict[str, Any]]:
    return [
        {
            "id": f"{call.name}_mock{call.number}",
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in said.tool_calls
    ]


def _citations(said: Said) -> list[dict[str, Any]]:
    return [
        {
            "start": source.get("start", 0),
            "end": source.get("end", 0),
            "text": source.get("text", ""),
            "sources": [
                {
                    "type": "document",
                    "id": source.get("id", f"doc:{place}"),
                    "document": {"title": source.get("title", ""), "url": source.get("url", "")},
                }
            ],
            "type": "TEXT_CONTENT",
        }
        for place, source in enumerate(said.reply.citations)
    ]


def message_of(said: Said) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant"}
    content: list[dict[str, Any]] = []
    if said.tool_calls:
        message["tool_calls"] = _calls(said)
        message["tool_plan"] = said.reasoning or "I will use a tool."
    elif said.reasoning:
        content.append({"type": "thinking", "thinking": said.reasoning})
    if said.text or not said.tool_calls:
        content.append({"type": "text", "text": said.text})
    if content:
        message["content"] = content
    if said.reply.citations:
        message["citations"] = _citations(said)
    return message


def events_of(said: Said, answer_id: str) -> Iterator[Event]:
    for event, piece in _told(said, answer_id):
        yield sse(event, event["type"], piece)


def _told(said: Said, answer_id: str) -> Iterator[tuple[dict[str, Any], bool]]:
    start = {"message": {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}}
    yield {"type": "message-start", "id": answer_id, "delta": start}, False
    message = message_of(said)
    if "tool_plan" in message:
        for piece in said.reasoning_pieces or [message["tool_plan"]]:
            yield {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": piece}}}, True
    index = 0
    if said.reasoning and not said.tool_calls:
        yield from _block(index, "thinking", said.reasoning_pieces)
        index += 1
    if said.text or not said.tool_calls:
        yield from _block(index, "text", said.pieces)
    for number, citation in enumerate(message.get("citations", ())):
        yield {"type": "citation-start", "index": number, "delta": {"message": {"citations": citation}}}, False
        yield {"type": "citation-end", "index": number}, False
    for number, (call, made) in enumerate(zip(said.tool_calls, message.get("tool_calls", ()), strict=True)):
        begun = {**made, "function": {"name": call.name, "arguments": ""}}
        yield {"type": "tool-call-start", "index": number, "delta": {"message": {"tool_calls": begun}}}, True
        for part in call.halves:
            delta = {"message": {"tool_calls": {"function": {"arguments": part}}}}
            yield {"type": "tool-call-delta", "index": number, "delta": delta}, True
        yield {"type": "tool-call-end", "index": number}, False
    end = {"finish_reason": FINISH_REASONS.get(said.finish, said.finish), "usage": usage_of(said)}
    yield {"type": "message-end", "id": answer_id, "delta": end}, False


def _block(index: int, kind: str, pieces: list[str]) -> Iterator[tuple[dict[str, Any], bool]]:
    begun = {"message": {"content": {"type": kind, kind: ""}}}
    yield {"type": "content-start", "index": index, "delta": begun}, False
    for piece in pieces:
        yield {"type": "content-delta", "index": index, "delta": {"message": {"content": {kind: piece}}}}, True
    yield {"type": "content-end", "index": index}, False
