"""A canonical chat request as the body of Ollama's `/api/chat`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from instance.chute.answer import JSON
from instance.chute.dialects.chat_form import check_form, tool_choice
from instance.chute.dialects.data_url import Media, is_data_url, read_data_url
from instance.chute.dialects.request_fields import RequestFields, provider_object
from instance.core.errors import StockyardError

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
OUTPUT_TOKENS = 1024
"""Room for the answer in the context where the call does not limit it."""
OPTIONS: dict[str, tuple[str, ...]] = {
    "num_predict": ("max_completion_tokens", "max_tokens", "num_predict"),
    "temperature": ("temperature",),
    "top_p": ("top_p",),
    "top_k": ("top_k",),
    "min_p": ("min_p",),
    "typical_p": ("typical_p",),
    "seed": ("seed",),
    "repeat_penalty": ("repeat_penalty", "repetition_penalty"),
    "repeat_last_n": ("repeat_last_n",),
    "presence_penalty": ("presence_penalty",),
    "frequency_penalty": ("frequency_penalty",),
    "num_ctx": ("num_ctx",),
    "num_keep": ("num_keep",),
    "num_gpu": ("num_gpu",),
    "num_thread": ("num_thread",),
}
PASSED = ("keep_alive", "think", "truncate", "shift", "top_logprobs")


def remote_urls(messages: list[JSON]) -> list[tuple[str, str]]:
    """(url, param) of the images that have to be fetched, each URL once."""
    found: dict[str, str] = {}
    for place, message in enumerate(messages):
        parts = message.get("content")
        for number, part in enumerate(parts if isinstance(parts, list) else ()):
            url = _url(part)
            if part.get("type") == "image_url" and url.startswith(("http://", "https://")):
                found.setdefault(url, f"messages[{place}].content[{number}]")
    return list(found.items())


def context_size(prompt_tokens: int, output_tokens: int, smallest: int, largest: int) -> int:
    """The smallest power of two that holds both, from `smallest` up to `largest`."""
    needed = max(1, prompt_tokens + output_tokens)
    return min(largest, max(smallest, 1 << (needed - 1).bit_length()))


def write_chat(
    req: JSON,
    model: str,
    *,
    stream: bool,
    keep_alive: str = "",
    num_ctx: int = 0,
    fetched: Mapping[str, Media] | None = None,
) -> tuple[JSON, list[str]]:
    """The body, and the fields without a counterpart. `num_ctx` yields to the call's own. Raises `StockyardError` 400."""
    check_form(req)
    fields = RequestFields(req)
    body: JSON = {"model": model, "messages": _Messages(req["messages"], fetched or {}).written, "stream": stream}
    tools = _tools(fields)
    if tools:
        body["tools"] = tools
    options = _options(fields)
    if num_ctx:
        options.setdefault("num_ctx", num_ctx)
    if options:
        body["options"] = options
    form = fields.take("response_format")
    if isinstance(form, dict):
        holder = form.get("json_schema")
        if form.get("type") == "json_schema" and isinstance(holder, dict):
            body["format"] = holder.get("schema") or "json"
        elif form.get("type") == "json_object":
            body["format"] = "json"
    if fields.take("format") is not None:
        body["format"] = fields.take("format")
    effort = fields.take("reasoning_effort")
    if effort is not None:
        body["think"] = _think(effort, model)
    if keep_alive:
        body["keep_alive"] = keep_alive
    if fields.take("logprobs"):
        body["logprobs"] = True
    for name in PASSED:
        value = fields.take(name)
        if value is not None:
            body[name] = value
    own = provider_object(fields, "ollama")
    if isinstance(own.get("options"), dict):
        body.setdefault("options", {}).update(own.pop("options"))
    body.update(own)
    return body, fields.dropped


def output_tokens(req: JSON) -> int:
    """How many tokens the context must leave for the answer."""
    for name in OPTIONS["num_predict"]:
        value = req.get(name)
        if type(value) is int and value > 0:
            return value
    return OUTPUT_TOKENS


def _options(fields: RequestFields) -> JSON:
    options: JSON = {}
    for name, names in OPTIONS.items():
        value = fields.take(*names)
        if value is not None:
            options[name] = value
    stop = fields.take("stop")
    if stop:
        options["stop"] = [stop] if isinstance(stop, str) else stop
    given = fields.take("options")
    if isinstance(given, dict):
        options.update(given)
    return options


def _tools(fields: RequestFields) -> list[JSON]:
    tools = []
    for tool in fields.take("tools") or ():
        function = tool["function"]
        declared = {
            "name": function["name"],
            "description": function.get("description") or "",
            "parameters": function.get("parameters") or {"type": "object", "properties": {}},
        }
        tools.append(declared)
    choice = tool_choice(fields.take("tool_choice"))
    if choice.mode == "none":
        return []
    if choice.mode == "required":  # it can be offered only what it may call, not be made to call
        fields.drop("tool_choice")
    return [{"type": "function", "function": tool} for tool in tools if choice.allows(tool["name"])]


def _think(effort: Any, model: str) -> bool | str:
    if effort not in EFFORTS:
        raise StockyardError(
            "bad_request", f"`reasoning_effort` is one of {', '.join(EFFORTS)}.", param="reasoning_effort"
        )
    if "gpt-oss" in model:  # it takes levels, and cannot be told not to think
        return {"medium": "medium", "high": "high", "xhigh": "high"}.get(effort, "low")
    return bool(effort != "none")


def _url(part: JSON) -> str:
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else image
    return url if isinstance(url, str) else ""


class _Messages:
    def __init__(self, messages: list[JSON], fetched: Mapping[str, Media]) -> None:
        self._fetched = fetched
        self._names: dict[str, str] = {}
        self.written = [self._message(one, f"messages[{place}]") for place, one in enumerate(messages)]

    def _message(self, message: JSON, param: str) -> JSON:
        role = message["role"]
        text, images = self._content(message.get("content"), param)
        if role in ("tool", "function"):
            call_id = str(message.get("tool_call_id") or "")
            made: JSON = {"role": "tool", "content": text}
            name = self._names.get(call_id) or message.get("name")
            if name:
                made["tool_name"] = name
        else:
            made = {"role": "system" if role == "developer" else role, "content": text}
        if images:
            made["images"] = images
        if role == "assistant":
            thinking = message.get("reasoning_content")
            if isinstance(thinking, str) and thinking:
                made["thinking"] = thinking
            calls = message.get("tool_calls")
            if calls:
                made["tool_calls"] = [
                    self._call(call, f"{param}.tool_calls[{number}]") for number, call in enumerate(calls)
                ]
        return made

    def _call(self, call: JSON, param: str) -> JSON:
        function = call["function"]
        self._names[call.get("id") or ""] = function["name"]
        arguments = function.get("arguments")
        if not isinstance(arguments, dict):
            try:
                arguments = orjson.loads(arguments or "{}")
            except (orjson.JSONDecodeError, TypeError):
                arguments = None
        if not isinstance(arguments, dict):
            raise StockyardError(
                "bad_request", "The arguments of a tool call are a JSON object.", param=f"{param}.function.arguments"
            )
        return {"function": {"name": function["name"], "arguments": arguments}}

    def _content(self, content: Any, param: str) -> tuple[str, list[str]]:
        if not isinstance(content, list):
            return content or "", []
        texts: list[str] = []
        images: list[str] = []
        for number, part in enumerate(content):
            kind = part.get("type")
            if kind in ("text", "refusal"):
                texts.append(part.get(kind) or "")
                continue
            place = f"{param}.content[{number}]"
            if kind != "image_url":
                raise StockyardError(
                    "unsupported_parameter",
                    f"Ollama has nothing like this part ({kind!r}).",
                    param=place,
                    retryable=False,
                )
            images.append(self._image(_url(part), place))
        return "".join(texts), images

    def _image(self, url: str, param: str) -> str:
        if is_data_url(url):
            return read_data_url(url, param).base64
        media = self._fetched.get(url)
        if media is None:
            raise StockyardError("bad_request", "An image is named by a data URL or an http(s) address.", param=param)
        return media.base64
