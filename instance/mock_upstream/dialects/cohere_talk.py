"""Talks in Cohere's form: what may be said, and what was asked."""

from __future__ import annotations

from typing import Any

from instance.mock_upstream.checking import refused
from instance.mock_upstream.conversation import Asked, described_url
from instance.mock_upstream.dialects.openai_chat import text_of


def check_talk(body: dict[str, Any]) -> None:
    """Raises Refused for what the schema cannot say."""
    open_calls: set[str] = set()
    for place, message in enumerate(body["messages"]):
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_calls:
                raise refused(
                    400, f"invalid request: tool message at messages.{place} answers no tool call of the turn before"
                )
            open_calls.discard(message["tool_call_id"])
            continue
        if open_calls:
            raise refused(400, f"invalid request: missing tool results for {', '.join(sorted(open_calls))}")
        open_calls = {call["id"] for call in message.get("tool_calls") or ()}
        if message["role"] == "assistant" and not open_calls and not message.get("content"):
            raise refused(400, f"invalid request: messages.{place} must have content or tool_calls")
    if open_calls:
        raise refused(400, f"invalid request: missing tool results for {', '.join(sorted(open_calls))}")
    wants_json = (body.get("response_format") or {}).get("type") == "json_object"
    if wants_json and (body.get("tools") or body.get("documents")):
        raise refused(400, "invalid request: response_format json_object is not supported with tools or documents")
    if body.get("tool_choice") and not body.get("tools"):
        raise refused(400, "invalid request: tool_choice is only valid with tools")


def read_cohere(body: dict[str, Any]) -> Asked:
    """A chat request in Cohere's form."""
    asked = Asked(model=body["model"], stream=body.get("stream") is True)
    for message in body["messages"]:
        role, content = message["role"], message.get("content")
        asked.new_turn(role)
        if role == "user":
            asked.hear(text_of(content))
            for part in content if isinstance(content, list) else ():
                if part["type"] == "image_url":
                    asked.media.append(described_url("image", part["image_url"]["url"]))
        else:
            asked.words += len(text_of(content).split())
        if role == "tool":
            asked.results.append(_result(content))
        asked.earlier_calls += len(message.get("tool_calls") or ())
    for tool in body.get("tools") or ():
        asked.tools[tool["function"]["name"]] = tool["function"]["parameters"]
    asked.choice = {"REQUIRED": "any", "NONE": "none"}.get(body.get("tool_choice") or "", "auto")
    wanted = body.get("response_format") or {}
    if wanted.get("type") == "json_object":
        asked.schema = wanted.get("json_schema") or wanted.get("schema") or {}
    asked.think = (body.get("thinking") or {}).get("type") == "enabled"
    return asked


def _result(content: Any) -> str:
    if isinstance(content, str):
        return content
    said = []
    for part in content:
        data = part["document"]["data"] if part["type"] == "document" else part["text"]
        only = next(iter(data.values())) if isinstance(data, dict) and len(data) == 1 else data
        said.append(str(only))
    return " ".join(said)
