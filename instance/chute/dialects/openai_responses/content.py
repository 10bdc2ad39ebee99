"""Parts of a message: Responses' `input_text`, `input_image`, `input_file`, `input_audio`, `output_text`, `refusal` as chat's parts."""

from __future__ import annotations

from typing import Any

from instance.chute.answer import JSON
from instance.chute.dialects.openai_responses.translation import Translation, bad

TEXT_TYPES = frozenset(("input_text", "output_text", "text", "summary_text", "reasoning_text"))


def chat_content(content: Any, param: str, into: Translation) -> str | list[JSON]:
    """A message's content for chat: a string when it is nothing but one text. Raises `bad_request`."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise bad(param, "`content` is a string or a list of parts.")
    parts = [_part(part, f"{param}[{index}]", into) for index, part in enumerate(content)]
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        text: str = parts[0]["text"]
        return text
    return parts


def joined_text(content: Any, param: str, into: Translation) -> tuple[str, str, list[JSON]]:
    """A content's texts in one, its refusal, and its parts that are neither."""
    if isinstance(content, str):
        return content, "", []
    if not isinstance(content, list):
        raise bad(param, "`content` is a string or a list of parts.")
    texts: list[str] = []
    refusals: list[str] = []
    others: list[JSON] = []
    for index, part in enumerate(content):
        if isinstance(part, dict) and part.get("type") == "refusal":
            refusals.append(str(part.get("refusal") or ""))
            continue
        read = _part(part, f"{param}[{index}]", into)
        if read["type"] == "text":
            texts.append(read["text"])
        else:
            others.append(read)
    return "".join(texts), "".join(refusals), others


def _part(part: Any, param: str, into: Translation) -> JSON:
    if not isinstance(part, dict):
        raise bad(param, "A part is an object with a `type`.")
    kind = part.get("type")
    if kind in TEXT_TYPES:
        return _text(part, param)
    if kind == "input_image":
        return _image(part, param, into)
    if kind == "input_file":
        return _file(part, param, into)
    if kind == "input_audio":
        audio = part.get("input_audio")
        if not isinstance(audio, dict):
            raise bad(f"{param}.input_audio", "`input_audio` is an object with `data` and `format`.")
        return {"type": "input_audio", "input_audio": audio}
    if kind in ("image_url", "file"):
        return part  # chat's own form: what some callers send, and what comes back from a changed request
    if not isinstance(kind, str):
        raise bad(f"{param}.type", "A part needs a `type`.")
    raise bad(f"{param}.type", f"There is no part of type {kind!r}.")


def _text(part: JSON, param: str) -> JSON:
    text = part.get("text")
    if not isinstance(text, str):
        raise bad(f"{param}.text", "`text` is a string.")
    made: JSON = {"type": "text", "text": text}
    if "cache_control" in part:
        made["cache_control"] = part["cache_control"]
    return made


def _image(part: JSON, param: str, into: Translation) -> JSON:
    url = part.get("image_url")
    if isinstance(url, dict):
        url = url.get("url")
    if not isinstance(url, str) or not url:
        if not isinstance(part.get("file_id"), str):
            raise bad(param, "An image needs `image_url` or `file_id`.")
        into.only_native(f"{param}.file_id", "an image by `file_id`")
        url = ""
    image: JSON = {"url": url}
    if isinstance(part.get("detail"), str):
        image["detail"] = part["detail"]
    return {"type": "image_url", "image_url": image}


def _file(part: JSON, param: str, into: Translation) -> JSON:
    file = {name: part[name] for name in ("filename", "file_data") if isinstance(part.get(name), str)}
    if "file_data" not in file:
        name = next((name for name in ("file_id", "file_url") if isinstance(part.get(name), str)), "")
        if not name:
            raise bad(param, "A file needs `file_data`, `file_id` or `file_url`.")
        into.only_native(f"{param}.{name}", f"a file by `{name}`")
    return {"type": "file", "file": file}
