"""Content blocks of a caller's messages as parts and messages of the canonical form."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from instance.chute.answer import JSON
from instance.chute.dialects.anthropic.answer import read_blocks
from instance.chute.dialects.anthropic.foreign_thinking import is_foreign, own_detail
from instance.core.errors import StockyardError

_DOCUMENT_FIELDS = ("context", "citations")


def bad(param: str, message: str) -> StockyardError:
    return StockyardError("bad_request", message, param=param)


def content_of(content: Any, param: str) -> Any:
    """Canonical content: text for text alone, else parts. Raises 400."""
    if content is None or isinstance(content, str):
        return content
    parts = [part_of(block, f"{param}[{index}]") for index, block in enumerate(blocks_in(content, param))]
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        return parts[0]["text"]
    return parts


def blocks_in(content: Any, param: str) -> list[JSON]:
    """The blocks, checked: objects, each with its type. Raises 400."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise bad(param, "`content` is a string or a list of content blocks.")
    for index, block in enumerate(content):
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            raise bad(f"{param}[{index}]", "A content block is an object with a `type`.")
        if block["type"] == "text" and not isinstance(block.get("text"), str):
            raise bad(f"{param}[{index}].text", "`text` is a string.")
    return content


def part_of(block: JSON, param: str) -> JSON:
    """One block as a part. A block without a canonical form stays as it is."""
    kind = block["type"]
    part: JSON | None = None
    if kind == "text":
        part = {"type": "text", "text": block["text"]}
    elif kind == "image":
        part = _image(block.get("source"), param)
    elif kind == "document":
        part = _document(block, param)
    if part is None:
        return dict(block)
    if block.get("cache_control") is not None:
        part["cache_control"] = block["cache_control"]
    return part


def _image(source: Any, param: str) -> JSON | None:
    if not isinstance(source, dict):
        raise bad(f"{param}.source", "An image needs a `source`.")
    if source.get("type") == "base64":
        data, kind = source.get("data"), source.get("media_type")
        if not isinstance(data, str) or not isinstance(kind, str):
            raise bad(f"{param}.source", "A base64 source has `media_type` and `data`.")
        return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{data}"}}
    if source.get("type") == "url" and isinstance(source.get("url"), str):
        return {"type": "image_url", "image_url": {"url": source["url"]}}
    return None


def _document(block: JSON, param: str) -> JSON | None:
    source = block.get("source")
    if not isinstance(source, dict):
        raise bad(f"{param}.source", "A document needs a `source`.")
    kind, data = source.get("type"), source.get("data")
    file: JSON
    if kind == "base64" and isinstance(data, str):
        file = {"file_data": f"data:{source.get('media_type') or 'application/pdf'};base64,{data}"}
    elif kind == "text" and isinstance(data, str):
        file = {"file_data": f"data:text/plain;base64,{b64encode(data.encode()).decode()}"}
    elif kind == "url" and isinstance(source.get("url"), str):
        file = {"file_url": source["url"]}
    elif kind == "file" and isinstance(source.get("file_id"), str):
        file = {"file_id": source["file_id"]}
    else:
        return None
    if isinstance(block.get("title"), str):
        file = {"filename": block["title"], **file}
    part: JSON = {"type": "file", "file": file}
    own = {name: block[name] for name in _DOCUMENT_FIELDS if block.get(name) is not None}
    if own:
        part["anthropic"] = own
    return part


def user_messages(content: Any, param: str) -> list[JSON]:
    """A user message: its tool results as messages of their own, first, then what the user said."""
    if isinstance(content, str):
        return [{"role": "user", "content": content}]
    results: list[JSON] = []
    said: list[JSON] = []
    for index, block in enumerate(blocks_in(content, param)):
        place = f"{param}[{index}]"
        if block["type"] == "tool_result":
            results.append(_result(block, place))
        else:
            said.append(part_of(block, place))
    if not said:
        return results or [{"role": "user", "content": ""}]
    if len(said) == 1 and said[0].keys() == {"type", "text"}:
        return [*results, {"role": "user", "content": said[0]["text"]}]
    return [*results, {"role": "user", "content": said}]


def _result(block: JSON, param: str) -> JSON:
    call_id = block.get("tool_use_id")
    if not isinstance(call_id, str):
        raise bad(f"{param}.tool_use_id", "A tool result names its call in `tool_use_id`.")
    content = content_of(block.get("content"), f"{param}.content")
    message: JSON = {"role": "tool", "tool_call_id": call_id, "content": "" if content is None else content}
    own = {name: value for name, value in block.items() if name not in _RESULT_FIELDS and value is not None}
    if own:
        message["anthropic"] = own
    if block.get("cache_control") is not None:
        message["cache_control"] = block["cache_control"]
    return message


_RESULT_FIELDS = frozenset(("type", "tool_use_id", "content", "cache_control"))


def assistant_message(content: Any, param: str) -> JSON:
    """An assistant message with its thinking, text and calls."""
    if isinstance(content, str):
        return {"role": "assistant", "content": content}
    blocks = blocks_in(content, param)
    for index, block in enumerate(blocks):
        if block["type"] == "tool_use" and not (
            isinstance(block.get("id"), str) and isinstance(block.get("name"), str)
        ):
            raise bad(f"{param}[{index}]", "A tool use has `id`, `name` and `input`.")
        if block["type"] == "redacted_thinking" and not isinstance(block.get("data"), str):
            raise bad(f"{param}[{index}].data", "Redacted thinking has `data`.")
    own = [block for block in blocks if not is_foreign(block)]
    message = read_blocks(own)
    if len(own) < len(blocks):
        _foreign(message, blocks)
    marked = [block for block in own if block["type"] == "text" and block.get("cache_control") is not None]
    if marked:
        message["content"] = [part_of(block, param) for block in own if block["type"] == "text"]
    return message


def _foreign(message: JSON, blocks: list[JSON]) -> None:
    """Thinking of another provider: its text, and the detail that stands in its signature."""
    foreign = [block for block in blocks if is_foreign(block)]
    texts = [block["thinking"] for block in foreign if isinstance(block.get("thinking"), str)]
    text = "".join(texts) + message.get("reasoning_content", "")
    if text:
        message["reasoning_content"] = text
    details = [found for found in map(own_detail, foreign) if found is not None]
    if details:
        message["reasoning_details"] = details + message.get("reasoning_details", [])
