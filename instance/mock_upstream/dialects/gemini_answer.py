"""Answers in Google's form: fragments, each a whole response object."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from instance.mock_upstream.conversation import Said
from instance.mock_upstream.dialects.gemini_talk import signature_of
from instance.mock_upstream.exchange import Event

FINISH_REASONS = {"stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}


def as_list(events: list[tuple[dict[str, Any], bool]]) -> Iterator[Event]:
    """The stream as one JSON array, growing: what comes without `alt=sse`."""
    for number, (event, piece) in enumerate(events):
        yield Event((b"," if number else b"[") + orjson.dumps(event) + b"\r\n", piece)
    yield Event(b"]")


def _usage(said: Said) -> dict[str, Any]:
    usage = said.usage
    made: dict[str, Any] = {
        "promptTokenCount": usage.prompt,
        "candidatesTokenCount": usage.completion - usage.reasoning,
        "totalTokenCount": usage.total,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": usage.prompt}],
    }
    if usage.cached:
        made["cachedContentTokenCount"] = usage.cached
    if usage.reasoning:
        made["thoughtsTokenCount"] = usage.reasoning
    return made


def fragments(body: dict[str, Any], said: Said, model: str, response_id: str) -> Iterator[tuple[dict[str, Any], bool]]:
    """The answer in the pieces of a stream: each a whole response object."""
    beside = {"usageMetadata": _usage(said), "modelVersion": model, "responseId": response_id}
    if said.reply.blocked is not None:
        feedback = {"blockReason": said.reply.blocked}
        usage = {"promptTokenCount": said.usage.prompt, "totalTokenCount": said.usage.prompt}
        yield {"promptFeedback": feedback, **beside, "usageMetadata": usage}, True
        return
    parts = _parts(said)
    indexes = range((body.get("generationConfig") or {}).get("candidateCount") or 1)
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        candidates = []
        for index in indexes:
            candidate: dict[str, Any] = {"content": {"parts": [part], "role": "model"}, "index": index}
            if last:
                candidate["finishReason"] = FINISH_REASONS.get(said.finish, said.finish)
                if said.reply.citations:
                    candidate["groundingMetadata"] = _grounding(said.reply.citations)
            candidates.append(candidate)
        yield {"candidates": candidates, **beside}, True


def _parts(said: Said) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [{"text": piece, "thought": True} for piece in said.reasoning_pieces]
    parts += [{"text": piece} for piece in said.pieces]
    for place, call in enumerate(said.tool_calls):
        part: dict[str, Any] = {"functionCall": {"name": call.name, "args": call.object}}
        if place == 0:
            part["thoughtSignature"] = signature_of(call.number)
        parts.append(part)
    return parts or [{"text": ""}]


def _grounding(citations: list[dict[str, Any]]) -> dict[str, Any]:
    chunks = [{"web": {"uri": one.get("url", ""), "title": one.get("title", "")}} for one in citations]
    supports = [
        {
            "segment": {"startIndex": one.get("start", 0), "endIndex": one.get("end", 0), "text": one.get("text", "")},
            "groundingChunkIndices": [place],
        }
        for place, one in enumerate(citations)
    ]
    return {"groundingChunks": chunks, "groundingSupports": supports, "webSearchQueries": []}


def joined(events: list[tuple[dict[str, Any], bool]]) -> dict[str, Any]:
    """The fragments as one answer, neighbouring texts of a kind as one part."""
    whole: dict[str, Any] = dict(events[-1][0])
    if "candidates" not in whole:
        return whole
    made = []
    for index, candidate in enumerate(whole["candidates"]):
        parts: list[dict[str, Any]] = []
        for event, _ in events:
            for part in event["candidates"][index]["content"]["parts"]:
                mergeable = parts and "text" in part and "text" in parts[-1]
                if mergeable and part.get("thought") == parts[-1].get("thought"):
                    parts[-1] = {**parts[-1], "text": parts[-1]["text"] + part["text"]}
                else:
                    parts.append(dict(part))
        made.append({**candidate, "content": {"parts": parts, "role": "model"}})
    return {**whole, "candidates": made}
