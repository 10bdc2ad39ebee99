"""Talks in Anthropic's form: what may be said, and what was asked."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from instance.mock_upstream.checking import refused
from instance.mock_upstream.conversation import Asked, described

CACHE_MARKS_MAX = 4


def signature_of(thinking: str) -> str:
    """The mock's own: it knows whether the thinking that comes back is what it said."""
    return base64.b64encode(hashlib.sha256(b"mock thinking signature:" + thinking.encode()).digest()).decode()


def blocks_of(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def check_messages(body: dict[str, Any]) -> None:
    """Raises Refused for what Anthropic's schema cannot say."""
    messages = body["messages"]
    if messages[0]["role"] != "user":
        raise refused(400, 'messages: first message must use the "user" role')
    open_calls: set[str] = set()
    for place, message in enumerate(messages):
        blocks = blocks_of(message["content"])
        if not blocks and not (message["role"] == "assistant" and place == len(messages) - 1):
            raise refused(400, f"messages.{place}: all messages must have non-empty content")
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        if open_calls - set(results):
            raise refused(
                400,
                f"messages.{place - 1}: `tool_use` ids were found without `tool_result` blocks immediately after: "
                f"{', '.join(sorted(open_calls - set(results)))}. Each `tool_use` block must have a corresponding "
                "`tool_result` block in the next message.",
            )
        if set(results) - open_calls or len(results) != len(set(results)):
            raise refused(
                400,
                f"messages.{place}.content: unexpected `tool_use_id` found in `tool_result` blocks: "
                f"{', '.join(results)}. Each `tool_result` block must have a corresponding `tool_use` block in the "
                "previous message.",
            )
        if results and [block["type"] for block in blocks[: len(results)]] != ["tool_result"] * len(results):
            raise refused(400, f"messages.{place}.content: tool_result blocks must come before other content")
        _check_role(message["role"], blocks, place)
        open_calls = {block["id"] for block in blocks if block["type"] == "tool_use"}
    if open_calls:
        raise refused(400, "messages: `tool_use` ids were found without `tool_result` blocks immediately after")
    last = messages[-1]
    text = blocks_of(last["content"])[-1:] if last["role"] == "assistant" else []
    if text and text[0].get("text", "x") != text[0].get("text", "x").rstrip():
        raise refused(400, "messages: final assistant content cannot end with trailing whitespace")
    _check_thinking(body)
    if _cache_marks(body) > CACHE_MARKS_MAX:
        raise refused(400, f"A maximum of {CACHE_MARKS_MAX} blocks with cache_control may be provided.")


def _check_role(role: str, blocks: list[dict[str, Any]], place: int) -> None:
    own = {"user": ("tool_result", "image", "document"), "assistant": ("tool_use", "thinking", "redacted_thinking")}
    other = own["assistant" if role == "user" else "user"]
    for number, block in enumerate(blocks):
        if block["type"] in other:
            raise refused(400, f"messages.{place}.content.{number}: `{block['type']}` blocks are not allowed here")
        if block["type"] == "thinking" and block["signature"] != signature_of(block["thinking"]):
            raise refused(400, f"messages.{place}.content.{number}: Invalid `signature` in `thinking` block")


def _check_thinking(body: dict[str, Any]) -> None:
    thinking = body.get("thinking") or {}
    if body.get("tool_choice") and body["tool_choice"]["type"] != "none" and not body.get("tools"):
        raise refused(400, "tool_choice: tool_choice may only be specified while providing tools")
    if thinking.get("type") != "enabled":
        return
    if thinking["budget_tokens"] >= body.get("max_tokens", 1 << 60):
        raise refused(400, "`max_tokens` must be greater than `thinking.budget_tokens`.")
    if body.get("temperature") not in (None, 1):
        raise refused(400, "`temperature` may only be set to 1 when thinking is enabled.")
    if "top_k" in body:
        raise refused(400, "`top_k` must be unset when thinking is enabled.")
    if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
        raise refused(400, "Thinking may not be enabled when tool_choice forces tool use.")


def _cache_marks(node: Any) -> int:
    if isinstance(node, list):
        return sum(map(_cache_marks, node))
    if isinstance(node, dict):
        inner = sum(_cache_marks(value) for name, value in node.items() if name not in ("input", "input_schema"))
        return inner + bool(node.get("cache_control"))
    return 0


def read_messages(body: dict[str, Any]) -> Asked:
    """A request in Anthropic's form."""
    asked = Asked(model=body["model"], stream=body.get("stream") is True)
    for block in blocks_of(body.get("system") or []):
        asked.words += len(block["text"].split())
    for message in body["messages"]:
        blocks = blocks_of(message["content"])
        results = [block for block in blocks if block["type"] == "tool_result"]
        asked.new_turn("tool" if results and len(results) == len(blocks) else message["role"])
        asked.results += [_result_text(block) for block in results]
        asked.earlier_calls += sum(block["type"] == "tool_use" for block in blocks)
        for block in blocks:
            if block["type"] == "text":
                if message["role"] == "user":
                    asked.hear(block["text"])
                else:
                    asked.words += len(block["text"].split())
            elif block["type"] in ("image", "document"):
                asked.media.append(_shown(block))
    for tool in body.get("tools") or []:
        if "input_schema" in tool:
            asked.tools[tool["name"]] = tool["input_schema"]
    choice = body.get("tool_choice") or {"type": "auto"}
    asked.choice = choice["name"] if choice["type"] == "tool" else choice["type"]
    asked.parallel = not choice.get("disable_parallel_tool_use")
    wanted = (body.get("output_config") or {}).get("format")
    asked.schema = wanted["schema"] if wanted else None
    asked.think = (body.get("thinking") or {}).get("type") == "enabled"
    return asked


def _result_text(block: dict[str, Any]) -> str:
    parts = blocks_of(block.get("content") or [])
    return " ".join(part["text"] if part["type"] == "text" else _shown(part) for part in parts)


def _shown(block: dict[str, Any]) -> str:
    source = block.get("source", {})
    if not isinstance(source, dict):
        return str(block["type"])
    if source.get("type") == "base64":
        return described(source["media_type"], source["data"])
    if source.get("type") == "text":
        return f"text/plain {len(source['data'].encode())} bytes"
    return described(block["type"], url=source.get("url") or source.get("file_id") or "content")
