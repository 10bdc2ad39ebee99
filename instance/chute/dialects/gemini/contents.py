"""A chat's messages as Gemini's `contents` and `systemInstruction`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from instance.chute.answer import JSON
from instance.chute.dialects.data_url import Media, checked_base64, is_data_url, read_data_url
from instance.chute.dialects.gemini.tool_ids import carried
from instance.core.errors import StockyardError

SKIP_SIGNATURE = "skip_thought_signature_validator"
"""What Gemini 3 accepts where a call of the history was made by another model and so has no signature."""
OWN_FILES = ("https://generativelanguage.googleapis.com/", "gs://", "https://www.youtube.com/", "https://youtu.be/")
"""What Gemini reads by itself when it is named."""
AUDIO_TYPES = {"mp3": "audio/mp3", "wav": "audio/wav"}


def remote_urls(messages: list[JSON]) -> list[tuple[str, str]]:
    """(url, param) of everything that has to be fetched and inlined, each URL once."""
    found: dict[str, str] = {}
    for place, message in enumerate(messages):
        parts = message.get("content")
        for number, part in enumerate(parts if isinstance(parts, list) else ()):
            url = _address(part)
            if url.startswith(("http://", "https://")) and not url.startswith(OWN_FILES):
                found.setdefault(url, f"messages[{place}].content[{number}]")
    return list(found.items())


class Contents:
    """`contents` and the parts of `systemInstruction`. `fetched` has the media of each of `remote_urls`.

    `signed`: the model refuses a call in the history without a signature.
    """

    def __init__(self, messages: list[JSON], fetched: Mapping[str, Media], *, signed: bool = False) -> None:
        self.contents: list[JSON] = []
        self.system: list[JSON] = []
        self.inline_bytes = 0
        self.dropped: list[str] = []
        self._fetched = fetched
        self._signed = signed
        self._names: dict[str, str] = {}
        for place, message in enumerate(messages):
            self._add(message, f"messages[{place}]")

    def _add(self, message: JSON, param: str) -> None:
        role = message["role"]
        if role in ("system", "developer"):
            self.system += list(self._parts(message.get("content"), param))
        elif role in ("tool", "function"):
            self._append("user", self._result(message, param))
        elif role == "assistant":
            self._append("model", self._said(message, param))
        else:
            self._append("user", list(self._parts(message.get("content"), param)))

    def _append(self, role: str, parts: list[JSON]) -> None:
        if not parts:
            return
        if self.contents and self.contents[-1]["role"] == role:
            self.contents[-1]["parts"] += parts
        else:
            self.contents.append({"role": role, "parts": parts})

    def _parts(self, content: Any, param: str) -> Iterator[JSON]:
        if isinstance(content, str):
            if content:
                yield {"text": content}
            return
        for number, part in enumerate(content or ()):
            made = self._part(part, f"{param}.content[{number}]")
            if made is not None:
                yield made

    def _part(self, part: JSON, param: str) -> JSON | None:
        kind = part.get("type")
        if kind in ("text", "refusal"):
            text = part.get("text") if kind == "text" else part.get("refusal")
            return {"text": text} if text else None
        if kind == "image_url":
            return self._media(_address(part), param)
        if kind == "input_audio":
            audio = part.get("input_audio")
            if audio is not None and isinstance(audio.get("data"), str):
                form = str(audio.get("format") or "wav")
                return self._inline(Media(AUDIO_TYPES.get(form, f"audio/{form}"), checked_base64(audio["data"], param)))
        if kind == "file":
            address = _address(part)
            if address:
                return self._media(address, param)
        raise StockyardError(
            "unsupported_parameter",
            f"Gemini has nothing like this part ({kind!r}).",
            param=param,
            retryable=False,
        )

    def _media(self, url: str, param: str) -> JSON:
        if is_data_url(url):
            return self._inline(read_data_url(url, param))
        if url.startswith(OWN_FILES):
            return {"fileData": {"fileUri": url}}
        media = self._fetched.get(url)
        if media is None:
            raise StockyardError("bad_request", "An image is named by a data URL or an http(s) address.", param=param)
        return self._inline(media)

    def _inline(self, media: Media) -> JSON:
        self.inline_bytes += len(media.base64)
        return {"inlineData": {"mimeType": media.mime_type, "data": media.base64}}

    def _said(self, message: JSON, param: str) -> list[JSON]:
        parts = list(self._parts(message.get("content"), param))
        signature = _text_signature(message)
        if signature:
            if not parts:
                parts.append({"text": ""})
            parts[-1]["thoughtSignature"] = signature
        calls = list(message.get("tool_calls") or ())
        if message.get("function_call"):
            calls.append({"id": "", "function": message["function_call"]})
        for number, call in enumerate(calls):
            parts.append(self._call(call, f"{param}.tool_calls[{number}]", first=not number))
        return parts

    def _call(self, call: JSON, param: str, *, first: bool) -> JSON:
        function = call["function"]
        call_id = call.get("id") or ""
        self._names[call_id] = function["name"]
        own, signature = carried(call_id)
        made: JSON = {"name": function["name"], "args": _arguments(function.get("arguments"), param)}
        if own:
            made["id"] = own
        part: JSON = {"functionCall": made}
        if signature:
            part["thoughtSignature"] = signature
        elif self._signed and first:
            part["thoughtSignature"] = SKIP_SIGNATURE
        return part

    def _result(self, message: JSON, param: str) -> list[JSON]:
        call_id = str(message.get("tool_call_id") or "")
        name = self._names.get(call_id) or message.get("name")
        if not isinstance(name, str) or not name:
            raise StockyardError(
                "bad_request", "No earlier tool call has this id.", param=f"{param}.tool_call_id", retryable=False
            )
        content = message.get("content")
        media: list[JSON] = []
        if isinstance(content, list):
            parts = list(self._parts(content, param))
            media = [part for part in parts if "text" not in part]
            content = "".join(part["text"] for part in parts if "text" in part)
        made: JSON = {"name": name, "response": _response(content)}
        own = carried(call_id).id
        if own:
            made["id"] = own
        return [{"functionResponse": made}, *media]


def _address(part: JSON) -> str:
    """Where an image or a file is: a data URL or an address; empty for other parts and for files that are named by an id."""
    kind = part.get("type")
    if kind == "image_url":
        image = part.get("image_url")
        url = image.get("url") if isinstance(image, dict) else image
        return url if isinstance(url, str) else ""
    file = part.get("file") if kind == "file" else None
    if not isinstance(file, dict):
        return ""
    for name in ("file_data", "file_url", "url"):
        if isinstance(file.get(name), str):
            return str(file[name])
    named = file.get("file_id")
    return named if isinstance(named, str) and named.startswith(OWN_FILES) else ""


def _text_signature(message: JSON) -> str:
    details = message.get("reasoning_details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and detail.get("provider") == "gemini" and isinstance(detail.get("data"), str):
            return str(detail["data"])
    return ""


def _arguments(arguments: Any, param: str) -> JSON:
    if isinstance(arguments, dict):
        return arguments
    try:
        read = orjson.loads(arguments or "{}")
    except (orjson.JSONDecodeError, TypeError):
        read = None
    if not isinstance(read, dict):
        raise StockyardError(
            "bad_request", "The arguments of a tool call are a JSON object.", param=f"{param}.function.arguments"
        )
    return read


def _response(content: Any) -> JSON:
    """A tool's result as the object that Gemini wants: its own JSON object, anything else under `result`."""
    if not isinstance(content, str):
        return {"result": content}
    try:
        read = orjson.loads(content)
    except orjson.JSONDecodeError:
        return {"result": content}
    return read if isinstance(read, dict) else {"result": read}
