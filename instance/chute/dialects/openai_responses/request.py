"""A Responses request as a chat request."""

from __future__ import annotations

from typing import Any

from instance.chute.answer import JSON
from instance.chute.dialects.openai_responses.input_items import MessageMaker
from instance.chute.dialects.openai_responses.tools import chat_tool_choice, chat_tools
from instance.chute.dialects.openai_responses.translation import INSTRUCTIONS, Translation, bad

SAME = ("model", "temperature", "top_p", "parallel_tool_calls", "user", "safety_identifier", "stream")
NATIVE_ONLY = {"conversation": "a conversation kept by the provider", "prompt": "a prompt kept by the provider"}
OWN = frozenset(
    [
        "access_programs",
        "background",
        "background_options",
        "context_management",
        "image",
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "moderation",
        "previous_response_id",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning",
        "service_tier",
        "store",
        "stream_options",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "truncation",
    ]
)
"""Fields that mean something in Responses only, or that are translated below; what is not known travels on."""
LOGPROBS = "message.output_text.logprobs"


def to_chat(native: JSON, items: list[JSON], offset: int = 0) -> tuple[JSON, Translation]:
    """The chat request, and what came of its translation. `items` are the input, history first; `offset` is the history's
    length, so that errors name the caller's own `input[i]`. Raises `bad_request`."""
    into = Translation()
    instructions = native.get("instructions")
    if isinstance(instructions, str) and instructions:
        into.add({"role": "system", "content": instructions}, INSTRUCTIONS)
    elif instructions is not None and not isinstance(instructions, str):
        raise bad("instructions", "`instructions` is a string.")
    maker = MessageMaker(into)
    for index, item in enumerate(items):
        maker.take(item, index, f"input[{index - offset}]" if index >= offset else "previous_response_id")
    maker.end()
    req: JSON = {"model": native.get("model"), "messages": into.messages}
    for name in SAME:
        if native.get(name) is not None:
            req[name] = native[name]
    _tools(native, req, into)
    _sampling(native, req)
    _text(native, req)
    for name, what in NATIVE_ONLY.items():
        if native.get(name) is not None:
            into.only_native(name, what)
    for name, value in native.items():
        if name not in OWN and name not in NATIVE_ONLY and name not in SAME and name not in req:
            req[name] = value
    return req, into


def _tools(native: JSON, req: JSON, into: Translation) -> None:
    tools = chat_tools(native.get("tools"), into)
    choice, tools = chat_tool_choice(native.get("tool_choice"), tools, into)
    if tools:
        req["tools"] = tools
        if choice is not None:
            req["tool_choice"] = choice
    else:
        # Providers of chat refuse both without tools.
        req.pop("parallel_tool_calls", None)


def _sampling(native: JSON, req: JSON) -> None:
    limit = native.get("max_output_tokens")
    if limit is not None:
        if type(limit) is not int or limit < 1:
            raise bad("max_output_tokens", "`max_output_tokens` is an integer of at least 1.")
        req["max_tokens"] = limit
    top = native.get("top_logprobs")
    include = native.get("include")
    if include is not None and not isinstance(include, list):
        raise bad("include", "`include` is a list of strings.")
    if top or LOGPROBS in (include or ()):
        req["logprobs"] = True
        if top:
            req["top_logprobs"] = top
    reasoning = native.get("reasoning")
    if reasoning is not None and not isinstance(reasoning, dict):
        raise bad("reasoning", "`reasoning` is an object.")
    if reasoning and reasoning.get("effort") is not None:
        req["reasoning_effort"] = reasoning["effort"]
    tier = native.get("service_tier")
    if tier not in (None, "auto", "default"):
        req["service_tier"] = tier


def _text(native: JSON, req: JSON) -> None:
    text = native.get("text")
    if text is None:
        return
    if not isinstance(text, dict):
        raise bad("text", "`text` is an object.")
    if text.get("verbosity") is not None:
        req["verbosity"] = text["verbosity"]
    form: Any = text.get("format")
    if form is None:
        return
    if not isinstance(form, dict) or not isinstance(form.get("type"), str):
        raise bad("text.format", "`format` is an object with a `type`.")
    if form["type"] == "json_schema":
        if not isinstance(form.get("schema"), dict):
            raise bad("text.format.schema", "`schema` is an object.")
        schema = {
            name: form[name] for name in ("name", "description", "schema", "strict") if form.get(name) is not None
        }
        req["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif form["type"] != "text":
        req["response_format"] = {"type": form["type"]}
