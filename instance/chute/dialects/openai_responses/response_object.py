"""The `response` object around an answer: what was asked, echoed as the API echoes it, and what came of it."""

from __future__ import annotations

from typing import Any

from instance.chute.answer import JSON

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
_ECHOED = (
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "previous_response_id",
    "prompt_cache_key",
    "safety_identifier",
    "temperature",
    "top_p",
    "user",
)


def skeleton(response_id: str, created_s: int, native: JSON, model: str) -> JSON:
    """The object as it is when nothing came yet: `in_progress`, without output."""
    text = native.get("text")
    reasoning = native.get("reasoning")
    made: JSON = {
        "id": response_id,
        "object": "response",
        "created_at": created_s,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        "parallel_tool_calls": native.get("parallel_tool_calls") is not False,
        "reasoning": {"effort": None, "summary": None, **(reasoning if isinstance(reasoning, dict) else {})},
        "service_tier": native.get("service_tier") or "auto",
        "store": native.get("store") is not False,
        "text": {"format": {"type": "text"}, **(text if isinstance(text, dict) else {})},
        "tool_choice": native.get("tool_choice") or "auto",
        "tools": [_tool(tool) for tool in native.get("tools") or ()],
        "top_logprobs": native.get("top_logprobs") or 0,
        "truncation": native.get("truncation") or "disabled",
        "usage": None,
        "metadata": native.get("metadata") or {},
    }
    for name in _ECHOED:
        made[name] = native.get(name)
    return made


def _tool(tool: JSON) -> JSON:
    if tool.get("type") == "function" and "name" in tool:
        return {"description": None, "parameters": None, "strict": False, **tool}
    return tool


def finished(response: JSON, output: list[JSON], usage: Any, finish_reason: Any, completed_s: int) -> JSON:
    """The object when the answer is whole; `incomplete` when the provider cut it short."""
    reason = _INCOMPLETE.get(finish_reason)
    return {
        **response,
        "status": "incomplete" if reason else "completed",
        "completed_at": None if reason else completed_s,
        "incomplete_details": {"reason": reason} if reason else None,
        "output": output,
        "usage": response_usage(usage),
    }


def failed(response: JSON, output: list[JSON], code: str, message: str) -> JSON:
    """The object when the answer broke off."""
    return {**response, "status": "failed", "error": {"code": code, "message": message}, "output": output}


def item_status(finish_reason: Any) -> str:
    return "incomplete" if finish_reason in _INCOMPLETE else "completed"


def response_usage(usage: Any) -> JSON | None:
    """Chat's `usage` in Responses' names; `None` for none."""
    if not isinstance(usage, dict):
        return None
    prompt = usage.get("prompt_tokens") or 0
    completion = usage.get("completion_tokens") or 0
    read = usage.get("prompt_tokens_details")
    made = usage.get("completion_tokens_details")
    read = read if isinstance(read, dict) else {}
    made = made if isinstance(made, dict) else {}
    return {
        "input_tokens": prompt,
        "input_tokens_details": {
            "cached_tokens": read.get("cached_tokens") or 0,
            "cache_write_tokens": read.get("cache_creation_tokens") or read.get("cache_write_tokens") or 0,
        },
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": made.get("reasoning_tokens") or 0},
        "total_tokens": usage.get("total_tokens") or prompt + completion,
    }


def chat_usage(usage: Any) -> JSON | None:
    """Responses' `usage` in chat's names; `None` for none."""
    if not isinstance(usage, dict):
        return None
    read = usage.get("input_tokens_details")
    made = usage.get("output_tokens_details")
    prompt = usage.get("input_tokens") or 0
    completion = usage.get("output_tokens") or 0
    details: JSON = {"cached_tokens": (read.get("cached_tokens") if isinstance(read, dict) else 0) or 0}
    if isinstance(read, dict) and read.get("cache_write_tokens"):
        details["cache_creation_tokens"] = read["cache_write_tokens"]
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": usage.get("total_tokens") or prompt + completion,
        "prompt_tokens_details": details,
        "completion_tokens_details": {
            "reasoning_tokens": (made.get("reasoning_tokens") if isinstance(made, dict) else 0) or 0
        },
    }
