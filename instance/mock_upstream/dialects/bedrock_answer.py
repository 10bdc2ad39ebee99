"""Answers in Converse's form, whole and as frames of a binary stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from instance.mock_upstream import event_stream
from instance.mock_upstream.conversation import Said
from instance.mock_upstream.dialects.anthropic_talk import signature_of
from instance.mock_upstream.exchange import Event

STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "content_filtered",
}


def stop_reason(said: Said) -> str:
    return "guardrail_intervened" if said.reply.blocked is not None else STOP_REASONS.get(said.finish, said.finish)


def content_of(said: Said) -> list[dict[str, Any]]:
    if said.reply.blocked is not None:
        return [{"text": "Sorry, the model cannot answer this question."}]
    content: list[dict[str, Any]] = []
    if said.reasoning:
        thought = {"text": said.reasoning, "signature": signature_of(said.reasoning)}
        content.append({"reasoningContent": {"reasoningText": thought}})
    if said.text or not said.tool_calls:
        content.append({"text": said.text})
    for call in said.tool_calls:
        content.append(
            {"toolUse": {"toolUseId": f"tooluse_mock{call.number}", "name": call.name, "input": call.object}}
        )
    return content


def usage_of(said: Said) -> dict[str, Any]:
    usage = said.usage
    made = {"inputTokens": usage.fresh, "outputTokens": usage.completion, "totalTokens": usage.total}
    if usage.cached or usage.cache_creation:
        made |= {"cacheReadInputTokens": usage.cached, "cacheWriteInputTokens": usage.cache_creation}
    return made


def trace_of(body: dict[str, Any], said: Said) -> dict[str, Any]:
    if said.reply.blocked is None or not body.get("guardrailConfig"):
        return {}
    topic = {"name": said.reply.blocked, "type": "DENY", "action": "BLOCKED"}
    guard = body["guardrailConfig"]["guardrailIdentifier"]
    return {"trace": {"guardrail": {"inputAssessment": {guard: {"topicPolicy": {"topics": [topic]}}}}}}


def events_of(body: dict[str, Any], said: Said) -> Iterator[Event]:
    for kind, content, piece in _told(body, said):
        # Bedrock pads its payloads so that their length tells nothing
        yield Event(event_stream.event(kind, orjson.dumps({**content, "p": "abcdefgh"[: len(kind) % 8]})), piece)


def _told(body: dict[str, Any], said: Said) -> Iterator[tuple[str, dict[str, Any], bool]]:
    yield "messageStart", {"role": "assistant"}, False
    calls = iter(said.tool_calls)
    for index, block in enumerate(content_of(said)):
        at = {"contentBlockIndex": index}
        if "toolUse" in block:
            use = block["toolUse"]
            begun = {"toolUseId": use["toolUseId"], "name": use["name"]}
            yield "contentBlockStart", {**at, "start": {"toolUse": begun}}, False
            for part in next(calls).halves:
                yield "contentBlockDelta", {**at, "delta": {"toolUse": {"input": part}}}, True
        elif "reasoningContent" in block:
            for piece in said.reasoning_pieces:
                yield "contentBlockDelta", {**at, "delta": {"reasoningContent": {"text": piece}}}, True
            signature = block["reasoningContent"]["reasoningText"]["signature"]
            yield "contentBlockDelta", {**at, "delta": {"reasoningContent": {"signature": signature}}}, False
        else:
            for piece in said.pieces if said.reply.blocked is None else [block["text"]]:
                yield "contentBlockDelta", {**at, "delta": {"text": piece}}, True
        yield "contentBlockStop", at, False
    yield "messageStop", {"stopReason": stop_reason(said)}, False
    yield "metadata", {"usage": usage_of(said), "metrics": {"latencyMs": 12}, **trace_of(body, said)}, False
