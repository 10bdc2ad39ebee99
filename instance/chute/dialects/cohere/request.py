"""A canonical chat request as the body of Cohere's `/v2/chat`."""

from __future__ import annotations

from typing import Any

import orjson

from instance.chute.answer import JSON
from instance.chute.dialects.chat_form import check_form, tool_choice
from instance.chute.dialects.request_fields import RequestFields, provider_object
from instance.core.errors import StockyardError

BUDGETS = {"minimal": 512, "low": 1024, "medium": 4096, "high": 0, "xhigh": 0}
"""Thinking tokens for each effort; 0: as many as the model likes."""
RENAMED: dict[str, tuple[str, ...]] = {
    "temperature": ("temperature",),
    "p": ("top_p", "p"),
    "k": ("top_k", "k"),
    "max_tokens": ("max_completion_tokens", "max_tokens"),
    "seed": ("seed",),
    "frequency_penalty": ("frequency_penalty",),
    "presence_penalty": ("presence_penalty",),
}
PASSED = ("documents", "citation_options", "safety_mode", "thinking", "priority", "raw_prompting", "strict_tools")


def write_chat(
    req: JSON, model: str, *, stream: bool, citations: bool = True, safety_mode: str = ""
) -> tuple[JSON, list[str]]:
    """The body, and the fields without a counterpart. Raises `StockyardError` 400."""
    check_form(req)
    fields = RequestFields(req)
    body: JSON = {"model": model, "messages": [_message(one, place) for place, one in enumerate(req["messages"])]}
    if stream:
        body["stream"] = True
    for name, names in RENAMED.items():
        value = fields.take(*names)
        if value is not None:
            body[name] = value
    stop = fields.take("stop")
    if stop:
        body["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    if fields.take("logprobs"):
        body["logprobs"] = True
    _tools(fields, body)
    _output_form(fields, body)
    effort = fields.take("reasoning_effort")
    if effort is not None:
        body["thinking"] = _thinking(effort)
    if not citations:
        body["citation_options"] = {"mode": "OFF"}
    if safety_mode:
        body["safety_mode"] = safety_mode
    for name in PASSED:
        value = fields.take(name)
        if value is not None:
            body[name] = value
    body.update(provider_object(fields, "cohere"))
    return body, fields.dropped


def _message(message: JSON, place: int) -> JSON:
    role = message["role"]
    param = f"messages[{place}]"
    if role in ("system", "developer"):
        return {"role": "system", "content": _content(message.get("content"), param)}
    if role in ("tool", "function"):
        content = message.get("content")
        return {
            "role": "tool",
            "tool_call_id": message.get("tool_call_id") or message.get("name") or "",
            "content": content if isinstance(content, str) else _text(content, param),
        }
    if role != "assistant":
        return {"role": "user", "content": _content(message.get("content"), param)}
    made: JSON = {"role": "assistant"}
    calls = message.get("tool_calls")
    if calls:
        made["tool_calls"] = [
            {"id": call.get("id"), "type": "function", "function": _called(call["function"])} for call in calls
        ]
        plan = message.get("reasoning_content")
        if isinstance(plan, str) and plan:
            made["tool_plan"] = plan
    content = _content(message.get("content"), param)
    if content or not calls:
        made["content"] = content
    return made


def _called(function: JSON) -> JSON:
    arguments = function.get("arguments") or "{}"
    text = arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()
    return {"name": function["name"], "arguments": text}


def _content(content: Any, param: str) -> Any:
    """A string as it is; parts as Cohere's: text and images."""
    if not isinstance(content, list):
        return content or ""
    parts = []
    for number, part in enumerate(content):
        kind = part.get("type")
        if kind in ("text", "refusal"):
            parts.append({"type": "text", "text": part.get(kind) or ""})
        elif kind == "image_url":
            image = part.get("image_url")
            url = image.get("url") if isinstance(image, dict) else image
            shown: JSON = {"url": url}
            if isinstance(image, dict) and image.get("detail"):
                shown["detail"] = image["detail"]
            parts.append({"type": "image_url", "image_url": shown})
        else:
            raise StockyardError(
                "unsupported_parameter",
                f"Cohere has nothing like this part ({kind!r}).",
                param=f"{param}.content[{number}]",
                retryable=False,
            )
    return parts


def _text(content: Any, param: str) -> str:
    parts = _content(content, param)
    return parts if isinstance(parts, str) else "".join(part.get("text", "") for part in parts)


def _tools(fields: RequestFields, body: JSON) -> None:
    tools = []
    strict = False
    for tool in fields.take("tools") or ():
        function = tool["function"]
        strict = strict or bool(function.get("strict"))
        declared: JSON = {"name": function["name"]}
        if function.get("description"):
            declared["description"] = function["description"]
        declared["parameters"] = function.get("parameters") or {"type": "object", "properties": {}}
        tools.append(declared)
    choice = tool_choice(fields.take("tool_choice"))
    # Only "any tool" can be demanded there: the named ones are the only ones that are offered.
    allowed = [tool for tool in tools if choice.allows(tool["name"])]
    if tools and not allowed:
        raise StockyardError("bad_request", "`tool_choice` names no tool of the call.", param="tool_choice")
    tools = allowed
    if tools:
        body["tools"] = [{"type": "function", "function": tool} for tool in tools]
        if choice.mode != "auto":
            body["tool_choice"] = choice.mode.upper()
        if strict:
            body["strict_tools"] = True


def _output_form(fields: RequestFields, body: JSON) -> None:
    form = fields.take("response_format")
    if not isinstance(form, dict):
        return
    kind = form.get("type")
    if kind == "json_object":
        body["response_format"] = {"type": "json_object"}
        schema = form.get("json_schema") or form.get("schema")
        if isinstance(schema, dict):
            body["response_format"]["json_schema"] = schema
    elif kind == "json_schema":
        holder = form.get("json_schema")
        schema = holder.get("schema") if isinstance(holder, dict) else None
        body["response_format"] = {"type": "json_object"}
        if isinstance(schema, dict):
            body["response_format"]["json_schema"] = schema


def _thinking(effort: Any) -> JSON:
    if effort == "none":
        return {"type": "disabled"}
    if effort not in BUDGETS:
        raise StockyardError(
            "bad_request", f"`reasoning_effort` is one of none, {', '.join(BUDGETS)}.", param="reasoning_effort"
        )
    budget = BUDGETS[effort]
    return {"type": "enabled", "token_budget": budget} if budget else {"type": "enabled"}
