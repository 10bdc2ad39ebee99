"""A whole `/v2/chat` answer in canonical form."""

from __future__ import annotations

from typing import Any

from instance.chute.answer import JSON

FINISHES = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
    "ERROR_TOXIC": "content_filter",
    "ERROR_LIMIT": "length",
}
FAILED = {"ERROR": 502, "TIMEOUT": 504}
"""Ends that are none: with the status that each stands for."""


def read_chat(
    obj: JSON, model: str, created: int, answer_id: str, *, reasoning: bool = True, citations: bool = True
) -> JSON:
    """The answer as a chat completion. Raises `ValueError` (or what indexing raises) for what is no answer."""
    said = obj["message"]
    text, thinking, offsets = "", "", []
    for block in said.get("content") or ():
        offsets.append(len(text))
        if block.get("type") == "thinking":
            thinking += block["thinking"]
        else:
            text += block["text"]
    calls = said.get("tool_calls") or []
    message: JSON = {"role": "assistant", "content": text or (None if calls else "")}
    thought = (said.get("tool_plan") or "") + thinking
    if thought and reasoning:
        message["reasoning_content"] = thought
    if calls:
        message["tool_calls"] = [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": call["function"]["name"], "arguments": call["function"]["arguments"] or "{}"},
            }
            for call in calls
        ]
    found = said.get("citations") or []
    if found and citations:
        shown = [one for citation in found for one in url_citations(citation, offsets)]
        if shown:
            message["annotations"] = shown
        message["cohere"] = {"citations": found}
    choice: JSON = {
        "index": 0,
        "message": message,
        "finish_reason": finish_reason(obj.get("finish_reason"), has_calls=bool(calls)),
        "logprobs": logprobs(obj.get("logprobs")),
    }
    answer: JSON = {
        "id": answer_id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [choice],
    }
    counts = usage(obj.get("usage"))
    if counts is not None:
        answer["usage"] = counts
    billed = billed_units(obj.get("usage"))
    if billed:
        answer["cohere"] = billed
    return answer


def finish_reason(reason: Any, *, has_calls: bool) -> str:
    return FINISHES.get(reason, "tool_calls" if has_calls else "stop")


def usage(counts: Any) -> JSON | None:
    """`usage.tokens` in canonical form; what is billed, which may be less, is under `cohere`."""
    tokens = counts.get("tokens") if isinstance(counts, dict) else None
    if not isinstance(tokens, dict):
        return None
    read, written = int(tokens.get("input_tokens") or 0), int(tokens.get("output_tokens") or 0)
    made: JSON = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    cached = counts.get("cached_tokens")
    if cached is not None:
        made["prompt_tokens_details"] = {"cached_tokens": int(cached)}
    return made


def billed_units(counts: Any) -> JSON | None:
    """What Cohere bills, for the top level's `cohere`."""
    billed = counts.get("billed_units") if isinstance(counts, dict) else None
    return {"billed_units": billed} if billed else None


def url_citations(citation: JSON, offsets: list[int]) -> list[JSON]:
    """One annotation for each source of a citation in the text; none for one in the thinking or the plan.

    `offsets` are where the answer's content blocks begin in its text.
    """
    if citation.get("type") in ("PLAN", "THINKING_CONTENT"):
        return []
    index = citation.get("content_index") or 0
    offset = offsets[index] if index < len(offsets) else 0
    made = []
    for source in citation.get("sources") or ():
        document = source.get("document") or {}
        cited = {
            "start_index": citation["start"] + offset,
            "end_index": citation["end"] + offset,
            "url": str(document.get("url") or ""),
            "title": str(document.get("title") or source.get("id") or ""),
        }
        made.append({"type": "url_citation", "url_citation": cited, "source": source.get("id") or ""})
    return made


def logprobs(given: Any) -> JSON | None:
    """Pieces of text with the log-probability of each of their tokens; Cohere does not say the tokens' own texts."""
    if not isinstance(given, list):
        return None
    content = []
    for piece in given:
        text = piece.get("text") or ""
        values = piece.get("logprobs") or []
        for place, value in enumerate(values):
            token = text if place == 0 else ""
            content.append({"token": token, "logprob": value, "bytes": list(token.encode()), "top_logprobs": []})
    return {"content": content, "refusal": None}
