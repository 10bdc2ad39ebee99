"""What Gemini's candidates say, in canonical words: their parts, stop reasons and counts of tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from instance.chute.answer import JSON
from instance.chute.dialects.gemini.generation import takes_level
from instance.chute.dialects.gemini.tool_ids import carry, new_call_id

FILTERED = frozenset(
    (
        "SAFETY",
        "RECITATION",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "LANGUAGE",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
        "MODEL_ARMOR",
    )
)


class PartsRead:
    """The parts of one candidate, or of one piece of it."""

    __slots__ = ("calls", "images", "other", "signature", "text", "thinking")

    def __init__(self, parts: list[JSON], made: Callable[[], str] = new_call_id) -> None:
        self.text = ""
        self.thinking = ""
        self.calls: list[tuple[str, str, str]] = []
        """(id, name, arguments as JSON) of each call."""
        self.signature = ""
        """Of a part that is no call."""
        self.images: list[JSON] = []
        self.other: list[JSON] = []
        """Parts that the canonical form has no place for: executed code and its results."""
        for part in parts:
            self._add(part, made)

    def _add(self, part: JSON, made: Callable[[], str]) -> None:
        signature = part.get("thoughtSignature") or ""
        call = part.get("functionCall")
        if call is not None:
            arguments = orjson.dumps(call.get("args") or {}).decode()
            self.calls.append((carry(call.get("id") or "", signature, made), call["name"], arguments))
            return
        if signature:
            self.signature = signature
        text = part.get("text")
        if text is not None:
            if part.get("thought"):
                self.thinking += text
            else:
                self.text += text
            return
        data = part.get("inlineData")
        if data is not None:
            url = f"data:{data['mimeType']};base64,{data['data']}"
            self.images.append({"type": "image_url", "image_url": {"url": url}})
        elif part and not (len(part) == 1 and signature):
            self.other.append(part)


def finish_reason(reason: str, *, has_calls: bool) -> str:
    """The canonical stop reason. What names a fault of the model's (a malformed call) counts as stop."""
    if reason == "MAX_TOKENS":
        return "length"
    if reason in FILTERED:
        return "content_filter"
    return "tool_calls" if has_calls else "stop"


def usage(counts: Any, searches: int = 0) -> JSON | None:
    """`usageMetadata` in canonical form: thoughts are part of the completion, tools' results of the prompt; `searches` of the
    web are charged apart."""
    if not isinstance(counts, dict):
        return None

    def count(name: str) -> int:
        value = counts.get(name)
        return value if type(value) is int else 0

    prompt = count("promptTokenCount") + count("toolUsePromptTokenCount")
    thoughts = count("thoughtsTokenCount")
    completion = count("candidatesTokenCount") + thoughts
    made: JSON = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {
            "cached_tokens": count("cachedContentTokenCount"),
            **_by_modality(counts.get("promptTokensDetails")),
        },
        "completion_tokens_details": {
            "reasoning_tokens": thoughts,
            **_by_modality(counts.get("candidatesTokensDetails")),
        },
    }
    if searches:
        made["server_tool_use"] = {"web_search_requests": searches}
    return made


def _by_modality(details: Any) -> JSON:
    """Tokens of sound, and of pictures where there are any."""
    found = {"audio_tokens": 0}
    for entry in details if isinstance(details, list) else ():
        name = {"AUDIO": "audio_tokens", "IMAGE": "image_tokens"}.get(entry.get("modality"))
        if name:
            found[name] = found.get(name, 0) + (entry.get("tokenCount") or 0)
    return found


def web_searches(candidate: JSON, model: str) -> int:
    """Searches that are charged for a candidate: each query from the third generation on, before that the grounded answer."""
    grounding = candidate.get("groundingMetadata")
    queries = grounding.get("webSearchQueries") if isinstance(grounding, dict) else None
    if not queries:
        return 0
    return len(queries) if takes_level(model) else 1


def logprobs(result: Any) -> JSON | None:
    """`logprobsResult` as a choice's `logprobs`."""
    if not isinstance(result, dict):
        return None
    tops = result.get("topCandidates") or []
    content = []
    for place, chosen in enumerate(result.get("chosenCandidates") or ()):
        top = tops[place].get("candidates") or [] if place < len(tops) else []
        content.append({**_logprob(chosen), "top_logprobs": [_logprob(one) for one in top]})
    return {"content": content, "refusal": None}


def _logprob(one: JSON) -> JSON:
    token = one.get("token") or ""
    return {"token": token, "logprob": one.get("logProbability") or 0.0, "bytes": list(token.encode())}


def url_citations(grounding: Any, text: str) -> list[JSON]:
    """The web pages that support pieces of the text, as `url_citation`s with offsets in characters (Gemini counts bytes)."""
    if not isinstance(grounding, dict):
        return []
    chunks = grounding.get("groundingChunks") or []
    raw = text.encode()
    found = []
    for support in grounding.get("groundingSupports") or ():
        segment = support.get("segment") or {}
        start = len(raw[: segment.get("startIndex") or 0].decode(errors="ignore"))
        end = len(raw[: segment.get("endIndex") or 0].decode(errors="ignore"))
        for index in support.get("groundingChunkIndices") or ():
            web = chunks[index].get("web") if index < len(chunks) else None
            if web:
                citation = {
                    "start_index": start,
                    "end_index": end,
                    "url": web.get("uri") or "",
                    "title": web.get("title") or "",
                }
                found.append({"type": "url_citation", "url_citation": citation})
    return found


def provider_fields(candidate: JSON, other: list[JSON]) -> JSON:
    """What only Gemini says of a candidate, for `message.gemini`; empty when there is nothing."""
    kept = {
        name: candidate[name]
        for name in ("safetyRatings", "citationMetadata", "groundingMetadata", "urlContextMetadata", "finishMessage")
        if candidate.get(name)
    }
    reason = candidate.get("finishReason")
    if reason not in (None, "STOP", "MAX_TOKENS"):
        kept["finishReason"] = reason
    if other:
        kept["parts"] = other
    return kept
