"""A canonical chat request as the body of `POST /v1/messages`."""

from __future__ import annotations

from typing import Any, NamedTuple

from instance.chute.answer import JSON
from instance.chute.dialects.anthropic.blocks import Dropped, text_block
from instance.chute.dialects.anthropic.caching import has_marks, mark_for_cache
from instance.chute.dialects.anthropic.conversation import LateSystem, conversation
from instance.chute.dialects.anthropic.json_schemas import is_native_schema, object_schema
from instance.chute.dialects.anthropic.model_traits import ModelTraits, model_traits
from instance.chute.dialects.anthropic.thinking import EFFORTS, budget, is_on
from instance.chute.dialects.request_fields import RequestFields, provider_object

ANSWER_TOOL = "json_answer"
"""The forced tool whose input is the answer, where the schema that was asked for has no usable name."""
OWN = (
    "container",
    "context_management",
    "mcp_servers",
    "inference_geo",
    "speed",
    "cache_control",
    "diagnostics",
    "user_profile_id",
)
"""Fields of the API that OpenAI's has not: they pass under their own name."""
WEIGHED = frozenset(
    (
        *OWN,
        "thinking",
        "output_config",
        "max_tokens",
        "temperature",
        "top_p",
        "top_k",
        "metadata",
        "service_tier",
        "stop",
    )
)
"""What is written with regard to the rest of the request, also when it is asked for in the API's own form."""
SAMPLING = ("temperature", "top_p", "top_k")


class Written(NamedTuple):
    """`body` as it is sent, the fields that had no counterpart, and the tool whose input is the answer (empty: none)."""

    body: JSON
    dropped: list[str]
    answer_tool: str


def write_request(
    req: JSON,
    model: str,
    *,
    default_max_tokens: int,
    late_system: LateSystem = "top",
    auto_cache: bool = False,
) -> Written:
    """The body for `model`. Raises `StockyardError` 400 for media that cannot be read."""
    asked = RequestFields(req)
    own = provider_object(asked, "anthropic")
    fields = RequestFields({**req, **own})
    fields.take("anthropic", *own)
    traits = model_traits(model)
    lost: Dropped = []
    talk = conversation(req.get("messages") or [], late_system, lost)
    body: JSON = {"model": model, "max_tokens": default_max_tokens, "messages": talk.messages}
    if talk.system:
        body["system"] = talk.system
    _think(body, fields, traits, talk.thinks, default_max_tokens)
    _sample(body, fields, traits)
    _stop(body, fields)
    _tools(body, fields, traits, lost)
    answer_tool = _answer_form(body, fields, traits)
    _who(body, fields)
    for name in OWN:
        value = fields.take(name)
        if value is not None:
            body[name] = value
    if req.get("stream"):
        body["stream"] = True
    body.update({name: value for name, value in own.items() if name not in WEIGHED})
    _end_of_prefill(body["messages"])
    if auto_cache and not has_marks(body):
        mark_for_cache(body)
    return Written(body, fields.dropped + lost, answer_tool)


def _think(body: JSON, fields: RequestFields, traits: ModelTraits, thinks: bool, default_max_tokens: int) -> None:
    """`max_tokens` and `thinking`, which share one limit."""
    asked = fields.take("max_completion_tokens", "max_tokens")
    max_tokens = asked if type(asked) is int and asked > 0 else None
    if max_tokens is not None:
        body["max_tokens"] = max_tokens
    own = fields.take("thinking")
    effort = fields.take("reasoning_effort")
    config = fields.take("output_config")
    if isinstance(config, dict):
        body["output_config"] = dict(config)
    if isinstance(own, dict):
        if not thinks and is_on(own):
            fields.drop("thinking")
            return
        body["thinking"] = own
        tokens = own.get("budget_tokens")
        if max_tokens is None and isinstance(tokens, int):
            body["max_tokens"] = tokens + default_max_tokens
        return
    if effort is None:
        return
    if effort == "none":
        if not traits.adaptive:
            return
        body["thinking"] = {"type": "disabled"}
    elif traits.adaptive and effort in EFFORTS:
        body["thinking"] = {"type": "adaptive"}
        body.setdefault("output_config", {}).setdefault("effort", EFFORTS[effort])
    else:
        room = budget(effort, max_tokens, default_max_tokens)
        if room is None or not thinks:
            fields.drop("reasoning_effort")
            return
        body["thinking"] = {"type": "enabled", "budget_tokens": room[0]}
        body["max_tokens"] = room[1]


def _sample(body: JSON, fields: RequestFields, traits: ModelTraits) -> None:
    """Temperature (at most 1), top_p and top_k, as far as the model takes them; thinking excludes them."""
    thinking = is_on(body.get("thinking"))
    for name in SAMPLING:
        value = fields.take(name)
        if value is None:
            continue
        if not traits.sampling or (thinking and not (name == "top_p" and value >= 0.95)):
            fields.drop(name)
        else:
            body[name] = min(value, 1) if name == "temperature" else value


def _stop(body: JSON, fields: RequestFields) -> None:
    stop = fields.take("stop")
    if stop is None:
        return
    sequences = [stop] if isinstance(stop, str) else stop
    kept = [text for text in sequences if isinstance(text, str) and text.strip()]
    if len(kept) < len(sequences):
        # A stop of white space only is refused by the API.
        fields.drop("stop")
    if kept:
        body["stop_sequences"] = kept


def _tools(body: JSON, fields: RequestFields, traits: ModelTraits, lost: Dropped) -> None:
    tools = []
    for index, tool in enumerate(fields.take("tools") or ()):
        written = _tool(tool, traits)
        if written is None:
            lost.append(f"tools[{index}]")
        else:
            tools.append(written)
    choice = fields.take("tool_choice")
    parallel = fields.take("parallel_tool_calls")
    if not tools:
        return
    body["tools"] = tools
    written = _choice(choice)
    if parallel is False and written is None:
        written = {"type": "auto"}
    if written is not None:
        if parallel is False and written["type"] != "none":
            written["disable_parallel_tool_use"] = True
        if is_on(body.get("thinking")) and written["type"] in ("any", "tool"):
            # The API refuses a forced tool while it thinks.
            fields.drop("tool_choice")
            written = {**written, "type": "auto"}
            written.pop("name", None)
        body["tool_choice"] = written


def _tool(tool: Any, traits: ModelTraits) -> JSON | None:
    if not isinstance(tool, dict):
        return None
    kind = tool.get("type", "function")
    if kind != "function":
        # A tool that the provider runs itself (web search, code) has its own type and a name.
        return dict(tool) if isinstance(kind, str) and "name" in tool and kind != "custom" else None
    function = tool.get("function")
    if not isinstance(function, dict) or not function.get("name"):
        return None
    schema = object_schema(function.get("parameters"))
    written: JSON = {"name": function["name"], "input_schema": schema}
    if function.get("description"):
        written["description"] = function["description"]
    if function.get("strict") is True and traits.schema and is_native_schema(schema):
        written["strict"] = True
    own = tool.get("anthropic")
    if isinstance(own, dict):
        written.update(own)
    mark = tool.get("cache_control") or function.get("cache_control")
    if mark is not None:
        written["cache_control"] = mark
    return written


def _choice(choice: Any) -> JSON | None:
    if choice == "required":
        return {"type": "any"}
    if choice in ("auto", "none"):
        return {"type": choice}
    if isinstance(choice, dict):
        name = (choice.get("function") or {}).get("name")
        if name:
            return {"type": "tool", "name": name}
        if choice.get("type") == "allowed_tools":
            allowed = choice.get("allowed_tools") or {}
            return {"type": "any" if allowed.get("mode") == "required" else "auto"}
    return None


def _answer_form(body: JSON, fields: RequestFields, traits: ModelTraits) -> str:
    """A schema for the answer: the API's own where it can enforce it, else a tool that must be called, whose input is the
    answer. Gives the tool's name."""
    form = fields.take("response_format")
    if not isinstance(form, dict) or form.get("type") in (None, "text"):
        return ""
    if "format" in body.get("output_config", ()):
        return ""
    if form["type"] == "json_object":
        body.setdefault("system", []).append(text_block("Answer with one JSON object and nothing else."))
        return ""
    wanted = form.get("json_schema")
    schema = wanted.get("schema") if isinstance(wanted, dict) else None
    if not isinstance(wanted, dict) or not isinstance(schema, dict):
        fields.drop("response_format")
        return ""
    if traits.schema and wanted.get("strict") is True and is_native_schema(schema):
        body.setdefault("output_config", {})["format"] = {"type": "json_schema", "schema": schema}
        return ""
    name = _free_name(str(wanted.get("name") or ANSWER_TOOL), body.get("tools", ()))
    tool: JSON = {
        "name": name,
        "description": wanted.get("description")
        or "Gives the final answer. Call it once, with the answer as its input.",
        "input_schema": object_schema(schema),
    }
    free = not body.get("tools") and not is_on(body.get("thinking"))
    body["tools"] = [*body.get("tools", ()), tool]
    if free:
        body["tool_choice"] = {"type": "tool", "name": name, "disable_parallel_tool_use": True}
    else:
        # Other tools must stay callable, and thinking excludes force: the model is told instead.
        body["system"] = [
            *body.get("system", ()),
            text_block(f"Give the final answer only by calling the tool `{name}`."),
        ]
        body.pop("tool_choice", None)
    return name


def _free_name(name: str, tools: Any) -> str:
    taken = {tool.get("name") for tool in tools}
    cleaned = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in name)[:60]
    while cleaned in taken:
        cleaned += "_"
    return cleaned


def _who(body: JSON, fields: RequestFields) -> None:
    """The end user and the service tier."""
    metadata = fields.take("metadata")
    user = fields.take("user", "safety_identifier")
    if isinstance(metadata, dict):
        if metadata.get("user_id"):
            user = metadata["user_id"]
        if set(metadata) - {"user_id"}:
            fields.drop("metadata")
    if isinstance(user, str) and user:
        body["metadata"] = {"user_id": user}
    tier = fields.take("service_tier")
    if tier in ("auto", "standard_only"):
        body["service_tier"] = tier
    elif tier == "default":
        body["service_tier"] = "standard_only"
    elif tier is not None:
        fields.drop("service_tier")


def _end_of_prefill(messages: list[JSON]) -> None:
    """An answer that is to be continued must not end in white space."""
    if not messages or messages[-1]["role"] != "assistant":
        return
    blocks = messages[-1]["content"]
    last = blocks[-1]
    if last.get("type") == "text":
        text = last["text"].rstrip()
        if text:
            blocks[-1] = {**last, "text": text}
        else:
            blocks.pop()
            if not blocks:
                messages.pop()
