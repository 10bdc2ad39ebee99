"""A canonical chat answer as a `message` object for a caller of this dialect."""

from __future__ import annotations

from typing import Any

from instance.chute.answer import JSON
from instance.chute.dialects.anthropic.blocks import text_block
from instance.chute.dialects.anthropic.conversation import call_input, kept_blocks, thinking_blocks
from instance.chute.dialects.anthropic.foreign_thinking import foreign_block

STOPS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}


def write_answer(answer: JSON, message_id: str) -> JSON:
    """The message; `message_id` where the answer has no id of this dialect. Only the first choice can be shown."""
    choices = answer.get("choices") or [{}]
    choice = choices[0]
    own = answer.get("anthropic")
    own = own if isinstance(own, dict) else {}
    message: JSON = {
        "id": wire_message_id(answer.get("id"), message_id),
        "type": "message",
        "role": "assistant",
        "model": answer.get("model") or "",
        "content": answer_blocks(choice.get("message") or {}),
        "stop_reason": stop_reason(choice.get("finish_reason"), own),
        "stop_sequence": own.get("stop_sequence"),
        "usage": wire_usage(answer.get("usage"), own),
    }
    for name in ("container", "stop_details", "context_management"):
        if own.get(name) is not None:
            message[name] = own[name]
    return message


def wire_message_id(answer_id: Any, otherwise: str) -> str:
    return answer_id if isinstance(answer_id, str) and answer_id.startswith("msg_") else otherwise


def answer_blocks(message: JSON) -> list[JSON]:
    """The message's blocks: thinking, text, calls. Ids of calls stay what the provider gave them."""
    kept = kept_blocks(message)
    if kept is not None:
        return kept
    blocks = thought_blocks(message)
    content = message.get("content")
    if isinstance(content, str) and content:
        blocks.append(text_block(content))
    elif isinstance(content, list):
        blocks += [text_block(part["text"]) for part in content if isinstance(part, dict) and part.get("text")]
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal:
        blocks.append(text_block(refusal))
    for call in message.get("tool_calls") or ():
        name = (call.get("function") or {}).get("name") or ""
        block: JSON = {"type": "tool_use", "id": call.get("id") or "", "name": name, "input": call_input(call)}
        own = call.get("anthropic")
        if isinstance(own, dict):
            block.update(own)
        blocks.append(block)
    return blocks


def thought_blocks(message: JSON) -> list[JSON]:
    """Thinking with its signature; another provider's is packed so that it comes back, and text alone has an empty one."""
    details = message.get("reasoning_details")
    details = [one for one in details if isinstance(one, dict)] if isinstance(details, list) else []
    foreign = [foreign_block(one) for one in details if one.get("provider", "anthropic") != "anthropic"]
    blocks = foreign + thinking_blocks(details)
    text = message.get("reasoning_content")
    if isinstance(text, str) and text and not any(block.get("thinking") for block in blocks):
        blocks.insert(0, {"type": "thinking", "thinking": text, "signature": ""})
    return blocks


def stop_reason(finish: Any, own: JSON) -> str | None:
    """The dialect's reason; the one that the provider gave itself while it still stands for `finish`."""
    said = own.get("stop_reason")
    plain = STOPS.get(finish) if isinstance(finish, str) else None
    if isinstance(said, str) and plain in (None, "end_turn", "refusal", "max_tokens"):
        return said
    return plain


def wire_usage(usage: Any, own: JSON) -> JSON:
    """Usage as this dialect counts: what came from the cache, or went to it, is not part of `input_tokens`."""
    usage = usage if isinstance(usage, dict) else {}
    details = usage.get("prompt_tokens_details")
    details = details if isinstance(details, dict) else {}
    cached = details.get("cached_tokens") or 0
    created = details.get("cache_creation_tokens") or 0
    found: JSON = {
        "input_tokens": max(0, (usage.get("prompt_tokens") or 0) - cached - created),
        "cache_creation_input_tokens": created,
        "cache_read_input_tokens": cached,
        "output_tokens": usage.get("completion_tokens") or 0,
    }
    more = usage.get("completion_tokens_details")
    if isinstance(more, dict) and more.get("reasoning_tokens"):
        found["output_tokens_details"] = {"thinking_tokens": more["reasoning_tokens"]}
    if isinstance(own.get("usage"), dict):
        found.update(own["usage"])
    return found
