"""A `message` object as a canonical chat answer."""

from __future__ import annotations

from typing import Any

import orjson

from instance.chute.answer import JSON

STOP_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_BLOCK_ORDER = {"thinking": 0, "redacted_thinking": 0, "text": 1, "tool_use": 2}
_BEYOND = ("stop_sequence", "stop_details", "container", "context_management", "diagnostics")
_CALL_FIELDS = frozenset(("type", "id", "name", "input", "cache_control"))
_COUNTED = frozenset(
    ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens_details")
)


def read_answer(message: JSON, created: int, *, answer_tool: str = "", reasoning: bool = True) -> JSON:
    """The canonical answer. `created` in seconds; the input of `answer_tool` becomes the content; without `reasoning` the
    thinking is left out. Raises `ValueError`, or what indexing raises, for what is no message."""
    blocks = message["content"]
    if message.get("type", "message") != "message" or not isinstance(blocks, list):
        raise ValueError("the answer is no message")
    answered = any(_is_answer(block, answer_tool) for block in blocks)
    said = read_blocks(blocks, answer_tool=answer_tool, reasoning=reasoning)
    reason = message.get("stop_reason")
    finish = STOP_REASONS.get(reason or "end_turn", "stop")
    if finish == "tool_calls" and answered and "tool_calls" not in said:
        finish = "stop"
    answer: JSON = {
        "id": message.get("id", ""),
        "object": "chat.completion",
        "created": created,
        "model": message.get("model", ""),
        "choices": [{"index": 0, "message": said, "logprobs": None, "finish_reason": finish}],
    }
    counts = message.get("usage")
    if isinstance(counts, dict):
        answer["usage"] = usage(counts)
    own = beyond(message, reason)
    if own:
        answer["anthropic"] = own
    return answer


def read_blocks(blocks: list[JSON], *, answer_tool: str = "", reasoning: bool = True) -> JSON:
    """The assistant message that content blocks stand for. Blocks in an order, or of a kind, that it cannot show are kept
    beside it as they came (`anthropic.content`), so that they can be sent back."""
    texts: list[str] = []
    calls: list[JSON] = []
    details: list[JSON] = []
    keeps = False
    before = 0
    for block in blocks:
        kind = block["type"]
        place = _BLOCK_ORDER.get(kind)
        keeps = (
            keeps
            or place is None
            or place < before
            or (kind == "text" and (before == 1 or bool(block.get("citations"))))
        )
        before = max(before, place or 0)
        if kind == "text":
            texts.append(block["text"])
        elif _is_answer(block, answer_tool):
            texts.append(orjson.dumps(block.get("input", {})).decode())
        elif kind == "tool_use":
            calls.append(_call(block))
        elif kind in ("thinking", "redacted_thinking"):
            details.append(detail(block))
    message: JSON = {"role": "assistant", "content": "".join(texts) if texts else None}
    if reasoning and details:
        text = "".join(one["text"] for one in details if one.get("text"))
        if text:
            message["reasoning_content"] = text
        message["reasoning_details"] = details
    if calls:
        message["tool_calls"] = calls
    if keeps and not answer_tool:
        kept = blocks if reasoning else [block for block in blocks if "thinking" not in block["type"]]
        message["anthropic"] = {"content": kept}
    return message


def _is_answer(block: JSON, answer_tool: str) -> bool:
    return bool(answer_tool) and block.get("type") == "tool_use" and block.get("name") == answer_tool


def _call(block: JSON) -> JSON:
    call: JSON = {
        "id": block["id"],
        "type": "function",
        "function": {"name": block["name"], "arguments": orjson.dumps(block.get("input", {})).decode()},
    }
    own = {name: value for name, value in block.items() if name not in _CALL_FIELDS and value is not None}
    if own.get("caller") == {"type": "direct"}:
        del own["caller"]
    if own:
        call["anthropic"] = own
    if block.get("cache_control") is not None:
        call["cache_control"] = block["cache_control"]
    return call


def detail(block: JSON) -> JSON:
    """A thinking block as a canonical detail of reasoning, its signature with it."""
    if block["type"] == "redacted_thinking":
        return {"type": "reasoning.encrypted", "data": block["data"], "provider": "anthropic"}
    found: JSON = {"type": "reasoning.text", "text": block.get("thinking", "")}
    if block.get("signature"):
        found["signature"] = block["signature"]
    found["provider"] = "anthropic"
    return found


def usage(counts: JSON) -> JSON:
    """Canonical usage: what was read from the cache and written to it counts as prompt too."""
    cached = _count(counts.get("cache_read_input_tokens"))
    created = _count(counts.get("cache_creation_input_tokens"))
    prompt = _count(counts.get("input_tokens")) + cached + created
    completion = _count(counts.get("output_tokens"))
    found: JSON = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
    if created:
        found["prompt_tokens_details"]["cache_creation_tokens"] = created
        lives = counts.get("cache_creation")
        hour = _count(lives.get("ephemeral_1h_input_tokens")) if isinstance(lives, dict) else 0
        if hour:
            found["prompt_tokens_details"]["cache_creation_1h_tokens"] = hour
    details = counts.get("output_tokens_details")
    if isinstance(details, dict) and _count(details.get("thinking_tokens")):
        found["completion_tokens_details"] = {"reasoning_tokens": _count(details["thinking_tokens"])}
    if isinstance(counts.get("server_tool_use"), dict):
        found["server_tool_use"] = counts["server_tool_use"]
    return found


def beyond(message: JSON, reason: Any) -> JSON:
    """What the message says that a canonical answer has no place for; empty for a plain one."""
    own: JSON = {name: message[name] for name in _BEYOND if message.get(name) is not None}
    if reason is not None and (own or reason not in ("end_turn", "tool_use", "max_tokens")):
        own["stop_reason"] = reason
    counts = message.get("usage")
    more = {k: v for k, v in counts.items() if k not in _COUNTED and v is not None} if isinstance(counts, dict) else {}
    if more:
        own["usage"] = more
    return own


def _count(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0
