"""A canonical request as an OpenAI-compatible provider takes it: without what other dialects' callers put into it."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

from instance.chute.answer import JSON

REQUEST_ONLY = ("anthropic", "bedrock", "gemini")
"""Objects of other providers' parameters."""
_MESSAGE_ONLY = frozenset(("reasoning_details", "reasoning_content", "cache_control", "anthropic", "gemini", "bedrock"))
_PART_ONLY = frozenset(("cache_control", "anthropic", "gemini", "bedrock"))


def plain_chat(req: JSON) -> JSON:
    """The request with marks for caches, thinking and other providers' fields left out, text documents as text, and images of
    tool results in a user message after them. Nothing of `req` itself is changed."""
    plain = {name: value for name, value in req.items() if name not in REQUEST_ONLY}
    messages: list[JSON] = []
    media: list[JSON] = []
    for message in req.get("messages") or ():
        if media and message.get("role") != "tool":
            messages.append({"role": "user", "content": media})
            media = []
        messages.append(_message(message, media))
    if media:
        messages.append({"role": "user", "content": media})
    plain["messages"] = messages
    if req.get("tools"):
        plain["tools"] = [_without(tool, _PART_ONLY) for tool in req["tools"]]
    return plain


def _message(message: JSON, media: list[JSON]) -> JSON:
    plain = _without(message, _MESSAGE_ONLY)
    calls = plain.get("tool_calls")
    if calls:
        plain["tool_calls"] = [_without(call, _PART_ONLY) for call in calls]
    content = plain.get("content")
    if not isinstance(content, list):
        return plain
    parts = [_part(part) for part in content]
    if plain.get("role") != "tool":
        plain["content"] = parts
        return plain
    # A tool's result is text there; what it shows follows as the user's.
    media += [part for part in parts if part.get("type") != "text"]
    plain["content"] = "\n".join(part["text"] for part in parts if part.get("type") == "text")
    return plain


def _part(part: JSON) -> JSON:
    plain = _without(part, _PART_ONLY)
    kind = plain.get("type")
    if kind == "file":
        text = _text_of(plain.get("file"))
        return {"type": "text", "text": text} if text is not None else plain
    if kind in ("search_result", "document"):
        source = part.get("source")
        inner = part.get("content") or (source.get("content") if isinstance(source, dict) else None)
        texts = [one.get("text", "") for one in inner] if isinstance(inner, list) else [inner or ""]
        title = part.get("title")
        return {"type": "text", "text": "\n".join(filter(None, [title, *texts]))}
    return plain


def _text_of(file: Any) -> str | None:
    """What a file of plain text says, with its name; `None` for any other file."""
    data = file.get("file_data") if isinstance(file, dict) else None
    if not isinstance(data, str) or not data.startswith("data:text/plain;base64,"):
        return None
    try:
        text = b64decode(data.partition(",")[2]).decode("utf-8", "replace")
    except ValueError:
        return None
    return f"{file['filename']}\n{text}" if file.get("filename") else text


def _without(found: JSON, names: frozenset[str]) -> JSON:
    return {name: value for name, value in found.items() if name not in names}
