"""Parts of canonical messages as content blocks of the Messages API."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

from instance.chute.answer import JSON
from instance.chute.dialects.data_url import checked_base64, is_data_url, read_data_url

IMAGE_TYPES = frozenset(("image/jpeg", "image/png", "image/gif", "image/webp"))
NATIVE = frozenset(
    (
        "search_result",
        "container_upload",
        "document",
        "image",
        "tool_reference",
        "server_tool_use",
        "web_search_tool_result",
        "web_fetch_tool_result",
        "code_execution_tool_result",
        "bash_code_execution_tool_result",
        "text_editor_code_execution_tool_result",
        "mcp_tool_use",
        "mcp_tool_result",
    )
)
"""Blocks without a canonical form: they stand in a canonical message as they are."""

Dropped = list[str]


def text_block(text: str, cache_control: Any = None) -> JSON:
    block: JSON = {"type": "text", "text": text}
    if cache_control is not None:
        block["cache_control"] = cache_control
    return block


def blocks_of(content: Any, param: str, dropped: Dropped) -> list[JSON]:
    """The blocks of a message's content; texts without anything to read are left out, since they are refused there. What has no counterpart is
    named in `dropped`. Raises 400 for what is no part at all."""
    if isinstance(content, str):
        return [text_block(content)] if content.strip() else []
    blocks: list[JSON] = []
    for index, part in enumerate(content or ()):
        block = block_of(part, f"{param}[{index}]", dropped)
        if block is not None:
            blocks.append(block)
    return blocks


def block_of(part: Any, param: str, dropped: Dropped) -> JSON | None:
    """One part as a block; `None` when nothing of it can be sent."""
    if isinstance(part, str):
        return text_block(part) if part.strip() else None
    kind = part.get("type")
    block: JSON | None
    if kind in ("text", "input_text", "output_text"):
        text = part.get("text")
        block = text_block(text) if isinstance(text, str) and text.strip() else None
    elif kind == "refusal":
        text = part.get("refusal")
        block = text_block(text) if isinstance(text, str) and text.strip() else None
    elif kind == "image_url":
        block = _image(part.get("image_url"), f"{param}.image_url", dropped)
    elif kind == "file":
        block = _document(part.get("file"), f"{param}.file", dropped)
    elif kind in NATIVE:
        return dict(part)
    else:
        dropped.append(param)
        return None
    if block is None:
        return None
    own = part.get("anthropic")
    if isinstance(own, dict):
        block.update(own)
    if part.get("cache_control") is not None:
        block["cache_control"] = part["cache_control"]
    return block


def _image(image: Any, param: str, dropped: Dropped) -> JSON | None:
    url = image.get("url") if isinstance(image, dict) else image
    if not isinstance(url, str) or not url:
        dropped.append(param)
        return None
    if not is_data_url(url):
        return {"type": "image", "source": {"type": "url", "url": url}}
    media = read_data_url(url, param)
    mime_type = "image/jpeg" if media.mime_type == "image/jpg" else media.mime_type
    if mime_type not in IMAGE_TYPES:
        dropped.append(param)
        return None
    return {"type": "image", "source": {"type": "base64", "media_type": mime_type, "data": media.base64}}


def _document(file: Any, param: str, dropped: Dropped) -> JSON | None:
    if not isinstance(file, dict):
        dropped.append(param)
        return None
    source = _source(file, param)
    if source is None:
        dropped.append(param)
        return None
    if source.get("media_type") in IMAGE_TYPES:
        return {"type": "image", "source": source}
    document: JSON = {"type": "document", "source": source}
    name = file.get("filename")
    if isinstance(name, str) and name:
        document["title"] = name
    return document


def _source(file: JSON, param: str) -> JSON | None:
    data = file.get("file_data")
    if isinstance(data, str) and data:
        if data.startswith(("https://", "http://")):
            return {"type": "url", "url": data}
        if not is_data_url(data):
            return {"type": "base64", "media_type": "application/pdf", "data": checked_base64(data, param)}
        media = read_data_url(data, param)
        if media.mime_type == "application/pdf" or media.mime_type in IMAGE_TYPES:
            return {"type": "base64", "media_type": media.mime_type, "data": media.base64}
        if media.mime_type.startswith("text/") or media.mime_type == "application/json":
            text = b64decode(media.base64).decode("utf-8", "replace")
            return {"type": "text", "media_type": "text/plain", "data": text}
        return None
    for name in ("file_url", "url"):
        url = file.get(name)
        if isinstance(url, str) and url:
            return {"type": "url", "url": url}
    file_id = file.get("file_id")
    return {"type": "file", "file_id": file_id} if isinstance(file_id, str) and file_id else None
