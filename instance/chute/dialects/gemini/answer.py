"""A whole `generateContent` answer in canonical form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from instance.chute.answer import JSON
from instance.chute.dialects.gemini.parts import (
    PartsRead,
    finish_reason,
    logprobs,
    provider_fields,
    url_citations,
    usage,
    web_searches,
)
from instance.chute.dialects.gemini.tool_ids import new_call_id
from instance.core.errors import StockyardError


def blocked_prompt(obj: JSON) -> str:
    """Why the prompt was refused; empty when it was not."""
    feedback = obj.get("promptFeedback")
    return str(feedback.get("blockReason") or "") if isinstance(feedback, dict) else ""


def refusal(reason: str) -> StockyardError:
    """The error for a prompt that was refused."""
    return StockyardError(
        "content_filter",
        f"Gemini refused the prompt ({reason}).",
        details={"block_reason": reason},
        retryable=False,
    )


def read_chat(
    obj: JSON,
    model: str,
    created: int,
    answer_id: str,
    *,
    reasoning: bool = True,
    made: Callable[[], str] = new_call_id,
) -> JSON:
    """The answer as a chat completion. Raises `StockyardError` 400 for a refused prompt, `ValueError` for what is no answer."""
    candidates = obj.get("candidates")
    if not candidates:
        reason = blocked_prompt(obj)
        if reason:
            raise refusal(reason)
        raise ValueError("the answer has no candidates")
    answer: JSON = {
        "id": answer_id,
        "object": "chat.completion",
        "created": created,
        "model": obj.get("modelVersion") or model,
        "choices": [_choice(candidate, place, reasoning, made) for place, candidate in enumerate(candidates)],
    }
    counts = usage(obj.get("usageMetadata"), sum(web_searches(candidate, model) for candidate in candidates))
    if counts is not None:
        answer["usage"] = counts
    return answer


def _choice(candidate: JSON, place: int, reasoning: bool, made: Callable[[], str]) -> JSON:
    content: Any = candidate.get("content") or {}
    read = PartsRead(content.get("parts") or [], made)
    message: JSON = {"role": "assistant", "content": read.text or (None if read.calls else "")}
    if read.thinking and reasoning:
        message["reasoning_content"] = read.thinking
    if read.signature:
        message["reasoning_details"] = [signature_detail(read.signature)]
    if read.calls:
        message["tool_calls"] = [
            {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
            for call_id, name, arguments in read.calls
        ]
    if read.images:
        message["images"] = read.images
    cited = url_citations(candidate.get("groundingMetadata"), read.text)
    if cited:
        message["annotations"] = cited
    own = provider_fields(candidate, read.other)
    if own:
        message["gemini"] = own
    choice: JSON = {
        "index": candidate.get("index", place),
        "message": message,
        "finish_reason": finish_reason(candidate.get("finishReason") or "", has_calls=bool(read.calls)),
        "logprobs": logprobs(candidate.get("logprobsResult")),
    }
    return choice


def signature_detail(signature: str) -> JSON:
    """A signature of no call, kept where the client's history brings it back."""
    return {"type": "reasoning.encrypted", "data": signature, "provider": "gemini"}
