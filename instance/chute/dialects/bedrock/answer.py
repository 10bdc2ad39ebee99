"""An answer of Converse as a canonical chat answer."""

from __future__ import annotations

from typing import Any

import orjson

from instance.chute.answer import JSON

STOP_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}
_BEYOND = ("trace", "additionalModelResponseFields", "performanceConfig", "serviceTier", "metrics")


def read_answer(
    answer: JSON,
    *,
    model: str,
    created: int,
    answer_id: str,
    thinker: str = "bedrock",
    answer_tool: str = "",
    reasoning: bool = True,
) -> JSON:
    """The canonical answer. `thinker` is who signed the thinking (`anthropic` for Claude, whose signatures hold at both); the
    input of `answer_tool` becomes the content. Raises `ValueError`, or what indexing raises, for what is no answer."""
    blocks = answer["output"]["message"]["content"]
    texts: list[str] = []
    calls: list[JSON] = []
    details: list[JSON] = []
    own_blocks: list[JSON] = []
    answered = False
    for block in blocks:
        if "text" in block:
            texts.append(block["text"])
        elif "toolUse" in block:
            use = block["toolUse"]
            arguments = orjson.dumps(use.get("input", {})).decode()
            if use["name"] == answer_tool:
                answered = True
                texts.append(arguments)
            else:
                function = {"name": use["name"], "arguments": arguments}
                calls.append({"id": use["toolUseId"], "type": "function", "function": function})
        elif "reasoningContent" in block:
            details.append(detail(block["reasoningContent"], thinker))
        elif "citationsContent" in block:
            texts += [piece.get("text", "") for piece in block["citationsContent"].get("content") or ()]
            own_blocks.append(block)
        else:
            own_blocks.append(block)
    message: JSON = {"role": "assistant", "content": "".join(texts) if texts else None}
    if details and reasoning:
        text = "".join(one.get("text", "") for one in details)
        if text:
            message["reasoning_content"] = text
        message["reasoning_details"] = details
    if calls:
        message["tool_calls"] = calls
    if own_blocks:
        message["bedrock"] = {"content": own_blocks}
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": finish_reason(answer.get("stopReason"), answered=answered, calls=bool(calls)),
    }
    found: JSON = {
        "id": answer_id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [choice],
    }
    if isinstance(answer.get("usage"), dict):
        found["usage"] = usage(answer["usage"])
    own = beyond(answer)
    if own:
        found["bedrock"] = own
    return found


def finish_reason(reason: Any, *, answered: bool, calls: bool) -> str:
    """OpenAI's name for why it stopped."""
    finish = STOP_REASONS.get(reason, "stop") if isinstance(reason, str) else "stop"
    return "stop" if finish == "tool_calls" and answered and not calls else finish


def detail(content: JSON, thinker: str) -> JSON:
    """A block of thinking as a canonical detail of reasoning."""
    if "redactedContent" in content:
        return {"type": "reasoning.encrypted", "data": content["redactedContent"], "provider": thinker}
    said = content["reasoningText"]
    found: JSON = {"type": "reasoning.text", "text": said.get("text", "")}
    if said.get("signature"):
        found["signature"] = said["signature"]
    return {**found, "provider": thinker}


def usage(counts: JSON) -> JSON:
    """Canonical usage: what was read from the cache and written to it counts as prompt too."""
    cached = _count(counts.get("cacheReadInputTokens"))
    created = _count(counts.get("cacheWriteInputTokens"))
    prompt = _count(counts.get("inputTokens")) + cached + created
    completion = _count(counts.get("outputTokens"))
    details: JSON = {"cached_tokens": cached}
    if created:
        details["cache_creation_tokens"] = created
        rows = counts.get("cacheDetails")
        hour = sum(_count(row.get("inputTokens")) for row in rows if row.get("ttl") == "1h") if rows else 0
        if hour:
            details["cache_creation_1h_tokens"] = hour
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": details,
    }


def beyond(answer: JSON) -> JSON:
    """What only this API says: the guardrail's trace, latency, fields of the model."""
    return {name: answer[name] for name in _BEYOND if answer.get(name) is not None}


def _count(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0
