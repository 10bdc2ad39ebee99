"""Answers in Anthropic's form, whole and as events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from instance.mock_upstream.conversation import Said, ToolCall, Usage
from instance.mock_upstream.dialects.anthropic_talk import signature_of
from instance.mock_upstream.exchange import Event, sse

STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}


def tool_id(call: ToolCall) -> str:
    return f"toolu_mock{call.number}"


def usage_of(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.fresh,
        "cache_creation_input_tokens": usage.cache_creation,
        "cache_read_input_tokens": usage.cached,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_creation,
            "ephemeral_1h_input_tokens": 0,
        },
        "output_tokens": usage.completion,
        "service_tier": "standard",
    }


def message_of(body: dict[str, Any], said: Said, message_id: str) -> dict[str, Any]:
    """The whole answer."""
    content: list[dict[str, Any]] = []
    if said.reasoning:
        content.append({"type": "thinking", "thinking": said.reasoning, "signature": signature_of(said.reasoning)})
    if said.text or not said.tool_calls:
        block: dict[str, Any] = {"type": "text", "text": said.text}
        if said.reply.citations:
            block["citations"] = [_citation(source) for source in said.reply.citations]
        content.append(block)
    for call in said.tool_calls:
        content.append({"type": "tool_use", "id": tool_id(call), "name": call.name, "input": call.object})
    reason = STOP_REASONS.get(said.finish, said.finish)
    refused_by = said.reply.blocked
    if refused_by is not None:
        content, reason = [], "refusal"
    stopped = (body.get("stop_sequences") or [None])[0] if reason == "stop_sequence" else None
    return {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": content,
        "stop_reason": reason,
        "stop_sequence": stopped,
        "usage": usage_of(said.usage),
    }


def _citation(source: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "web_search_result_location",
        "url": source.get("url", ""),
        "title": source.get("title", ""),
        "encrypted_index": "bW9jaw==",
        "cited_text": source.get("text", ""),
    }


def events_of(made: dict[str, Any], said: Said) -> Iterator[Event]:
    """The whole answer as a stream."""
    for event, piece in _told(made, said):
        yield sse(event, event["type"], piece)


def _told(made: dict[str, Any], said: Said) -> Iterator[tuple[dict[str, Any], bool]]:
    usage = made["usage"]
    begun = {**made, "content": [], "stop_reason": None, "stop_sequence": None, "usage": {**usage, "output_tokens": 1}}
    yield {"type": "message_start", "message": begun}, False
    for index, block in enumerate(made["content"]):
        at = {"index": index}
        yield {"type": "content_block_start", **at, "content_block": _begun(block)}, False
        if index == 0:
            yield {"type": "ping"}, False
        for delta in _deltas(block, said):
            piece = bool(delta.get("text") or delta.get("thinking") or delta.get("partial_json"))
            yield {"type": "content_block_delta", **at, "delta": delta}, piece
        yield {"type": "content_block_stop", **at}, False
    delta = {"stop_reason": made["stop_reason"], "stop_sequence": made["stop_sequence"]}
    told = {name: usage[name] for name in usage if name.endswith("_tokens")}
    yield {"type": "message_delta", "delta": delta, "usage": told}, False
    yield {"type": "message_stop"}, False


def _begun(block: dict[str, Any]) -> dict[str, Any]:
    empty: dict[str, dict[str, Any]] = {
        "text": {"text": ""},
        "thinking": {"thinking": "", "signature": ""},
        "tool_use": {"input": {}},
    }
    made = {**block, **empty[block["type"]]}
    made.pop("citations", None)
    return made


def _deltas(block: dict[str, Any], said: Said) -> Iterator[dict[str, Any]]:
    if block["type"] == "text":
        for piece in said.pieces:
            yield {"type": "text_delta", "text": piece}
        for citation in block.get("citations", ()):
            yield {"type": "citations_delta", "citation": citation}
    elif block["type"] == "thinking":
        for piece in said.reasoning_pieces:
            yield {"type": "thinking_delta", "thinking": piece}
        yield {"type": "signature_delta", "signature": block["signature"]}
    else:
        call = next(call for call in said.tool_calls if tool_id(call) == block["id"])
        # no arguments are no JSON at all, as Anthropic streams them
        for part in ("", *call.halves) if block["input"] else ("",):
            yield {"type": "input_json_delta", "partial_json": part}
