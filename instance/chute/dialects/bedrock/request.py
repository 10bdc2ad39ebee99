"""A canonical chat request as the body of `POST /model/{id}/converse`."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import quote

import orjson

from instance.chute.answer import JSON
from instance.chute.dialects.anthropic.json_schemas import is_native_schema, object_schema
from instance.chute.dialects.anthropic.model_traits import ModelTraits, model_traits
from instance.chute.dialects.anthropic.request import ANSWER_TOOL
from instance.chute.dialects.anthropic.thinking import EFFORTS, budget, is_on
from instance.chute.dialects.bedrock.blocks import BlockWriter, Fetched, cache_point
from instance.chute.dialects.bedrock.conversation import Conversation, conversation
from instance.chute.dialects.bedrock.model_family import family, takes_top_k
from instance.chute.dialects.request_fields import RequestFields, provider_object

TOP_LEVEL = frozenset(
    (
        "guardrailConfig",
        "additionalModelRequestFields",
        "promptVariables",
        "additionalModelResponseFieldPaths",
        "requestMetadata",
        "performanceConfig",
        "serviceTier",
        "outputConfig",
        "inferenceConfig",
    )
)
"""Fields of Converse itself; anything else in the `bedrock` object is the model's own."""
TIERS = {"default": "default", "priority": "priority", "flex": "flex"}
BUDGET_ANSWER_TOKENS = 4096
"""Room for the answer beside the thinking, where the caller sets no limit."""
FORCEABLE = frozenset(("anthropic", "amazon", "mistral"))
"""Makers whose models can be made to call a tool."""


class Written(NamedTuple):
    """`path` and `body` as they are sent, the fields without counterpart, the tool whose input is the answer (empty: none)."""

    path: str
    body: JSON
    dropped: list[str]
    answer_tool: str


def write_request(
    req: JSON,
    model: str,
    *,
    stream: bool,
    fetched: Fetched | None = None,
    guardrail: tuple[str, str] = ("", ""),
    beta: list[str] | None = None,
) -> Written:
    """The request for `model` (its id or ARN). `guardrail` is its id and version; `beta` are Anthropic's features by name."""
    asked = RequestFields(req)
    maker = family(model)
    claude = maker == "anthropic"
    own = provider_object(asked, "bedrock")
    anthropic = provider_object(asked, "anthropic")
    fields = RequestFields({**req, **(_claudes(anthropic) if claude else {})})
    fields.take("anthropic", "bedrock")
    traits = model_traits(model) if claude else ModelTraits()
    writer = BlockWriter(fetched or {})
    thinkers = frozenset(("anthropic", "bedrock") if claude else ("bedrock",))
    talk = conversation(req.get("messages") or [], writer, thinkers)
    body: JSON = {"messages": talk.messages}
    extra: JSON = {}
    if talk.system:
        body["system"] = talk.system
    config = _inference(fields, traits, claude)
    _think(body, config, extra, fields, model, traits, talk)
    _tools(body, extra, fields, talk, claude, traits, writer.dropped)
    answer_tool = _answer_form(body, extra, fields, traits, maker)
    if config:
        body["inferenceConfig"] = config
    _top_k(extra, config, fields, model, traits)
    _about(body, fields)
    if guardrail[0]:
        body["guardrailConfig"] = {"guardrailIdentifier": guardrail[0], "guardrailVersion": guardrail[1] or "DRAFT"}
    if claude and beta:
        extra["anthropic_beta"] = beta
    for name, value in own.items():
        if name in TOP_LEVEL and name != "additionalModelRequestFields":
            body[name] = {**body[name], **value} if isinstance(value, dict) and name in body else value
        elif name != "additionalModelRequestFields":
            extra[name] = value
    given = own.get("additionalModelRequestFields")
    extra.update(given if isinstance(given, dict) else {})
    if extra:
        body["additionalModelRequestFields"] = extra
    path = f"/model/{quote(model, safe='')}/converse" + ("-stream" if stream else "")
    return Written(path, body, fields.dropped + writer.dropped, answer_tool)


def _claudes(own: JSON) -> JSON:
    """What a caller of Anthropic's own dialect asked for, as far as Converse lets Claude have it."""
    return {name: own[name] for name in ("thinking", "output_config", "top_k") if name in own}


def _inference(fields: RequestFields, traits: ModelTraits, claude: bool) -> JSON:
    config: JSON = {}
    most = fields.take("max_completion_tokens", "max_tokens")
    if type(most) is int and most > 0:
        config["maxTokens"] = most
    for name, theirs in (("temperature", "temperature"), ("top_p", "topP")):
        value = fields.take(name)
        if value is None:
            continue
        if not traits.sampling:
            fields.drop(name)
        else:
            config[theirs] = min(value, 1) if name == "temperature" else value
    stop = fields.take("stop")
    if stop is not None:
        sequences = [stop] if isinstance(stop, str) else stop
        kept = [text for text in sequences if isinstance(text, str) and (text.strip() if claude else text)]
        if len(kept) < len(sequences):
            fields.drop("stop")
        if kept:
            config["stopSequences"] = kept
    return config


def _think(
    body: JSON,
    config: JSON,
    extra: JSON,
    fields: RequestFields,
    model: str,
    traits: ModelTraits,
    talk: Conversation,
) -> None:
    effort = fields.take("reasoning_effort")
    own = fields.take("thinking")
    asked = fields.take("output_config")
    if isinstance(asked, dict) and asked.get("effort"):
        body["outputConfig"] = {"effort": asked["effort"]}
    if isinstance(own, dict):
        if is_on(own) and not talk.thinks:
            fields.drop("thinking")
            return
        extra["thinking"] = own
    elif effort is None or effort == "none":
        return
    elif family(model) == "anthropic":
        _claude_thinks(body, config, extra, fields, effort, traits, talk)
    elif family(model) == "openai":
        extra["reasoning_effort"] = effort
    elif "nova-2" in model and effort in EFFORTS:
        level = {"xhigh": "high", "max": "high"}.get(EFFORTS[effort], EFFORTS[effort])
        extra["reasoningConfig"] = {"type": "enabled", "maxReasoningEffort": level}
    else:
        fields.drop("reasoning_effort")
    if is_on(extra.get("thinking")):
        for name, theirs in (("temperature", "temperature"), ("top_p", "topP")):
            if theirs in config and not (name == "top_p" and config[theirs] >= 0.95):
                del config[theirs]
                fields.drop(name)


def _claude_thinks(
    body: JSON, config: JSON, extra: JSON, fields: RequestFields, effort: Any, traits: ModelTraits, talk: Conversation
) -> None:
    if traits.adaptive and effort in EFFORTS:
        extra["thinking"] = {"type": "adaptive"}
        body.setdefault("outputConfig", {}).setdefault("effort", EFFORTS[effort])
        return
    room = budget(effort, config.get("maxTokens"), BUDGET_ANSWER_TOKENS)
    if room is None or not talk.thinks:
        fields.drop("reasoning_effort")
        return
    extra["thinking"] = {"type": "enabled", "budget_tokens": room[0]}
    config["maxTokens"] = room[1]


def _tools(
    body: JSON,
    extra: JSON,
    fields: RequestFields,
    talk: Conversation,
    claude: bool,
    traits: ModelTraits,
    dropped: list[str],
) -> None:
    """`toolConfig`; it is demanded also where only the history has calls, and there is no way to forbid them."""
    tools: list[JSON] = []
    for index, tool in enumerate(fields.take("tools") or ()):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not function.get("name"):
            dropped.append(f"tools[{index}]")
            continue
        schema = object_schema(function.get("parameters"))
        spec: JSON = {"name": function["name"], "inputSchema": {"json": schema}}
        if function.get("description"):
            spec["description"] = function["description"]
        if function.get("strict") is True and traits.schema and is_native_schema(schema):
            spec["strict"] = True
        tools.append({"toolSpec": spec})
        mark = tool.get("cache_control") or function.get("cache_control")
        if mark is not None:
            tools.append(cache_point(mark))
    choice = fields.take("tool_choice")
    parallel = fields.take("parallel_tool_calls")
    if choice == "none":
        if talk.tools:
            fields.drop("tool_choice")
        else:
            tools = []
    if not tools:
        tools = [{"toolSpec": {"name": name, "inputSchema": {"json": object_schema(None)}}} for name in talk.tools]
    if not tools:
        return
    body["toolConfig"] = {"tools": tools}
    written = _choice(choice)
    if written is not None:
        if is_on(extra.get("thinking")) and "auto" not in written:
            fields.drop("tool_choice")
        else:
            body["toolConfig"]["toolChoice"] = written
    if parallel is False:
        if claude:
            extra["tool_choice"] = {**_claude_choice(written), "disable_parallel_tool_use": True}
            body["toolConfig"].pop("toolChoice", None)
        else:
            fields.drop("parallel_tool_calls")


def _choice(choice: Any) -> JSON | None:
    if choice == "required":
        return {"any": {}}
    if choice == "auto":
        return {"auto": {}}
    name = (choice.get("function") or {}).get("name") if isinstance(choice, dict) else None
    return {"tool": {"name": name}} if name else None


def _claude_choice(written: JSON | None) -> JSON:
    if written is not None and "tool" in written:
        return {"type": "tool", "name": written["tool"]["name"]}
    return {"type": "any" if written is not None and "any" in written else "auto"}


def _answer_form(body: JSON, extra: JSON, fields: RequestFields, traits: ModelTraits, maker: str) -> str:
    """A schema for the answer: enforced by Bedrock where the model has that, else a tool whose input is the answer."""
    form = fields.take("response_format")
    if not isinstance(form, dict) or form.get("type") in (None, "text"):
        return ""
    if form["type"] == "json_object":
        body.setdefault("system", []).append({"text": "Answer with one JSON object and nothing else."})
        return ""
    wanted = form.get("json_schema")
    schema = wanted.get("schema") if isinstance(wanted, dict) else None
    if not isinstance(wanted, dict) or not isinstance(schema, dict):
        fields.drop("response_format")
        return ""
    if traits.schema and wanted.get("strict") is True and is_native_schema(schema):
        definition: JSON = {"schema": orjson.dumps(schema).decode()}
        definition.update({name: wanted[name] for name in ("name", "description") if wanted.get(name)})
        structure = {"type": "json_schema", "structure": {"jsonSchema": definition}}
        body.setdefault("outputConfig", {})["textFormat"] = structure
        return ""
    tools = body.setdefault("toolConfig", {}).setdefault("tools", [])
    taken = {tool["toolSpec"]["name"] for tool in tools if "toolSpec" in tool}
    name = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in str(wanted.get("name") or ""))[:60]
    name = name or ANSWER_TOOL
    while name in taken:
        name += "_"
    said = wanted.get("description") or "Gives the final answer. Call it once, with the answer as its input."
    tools.append({"toolSpec": {"name": name, "description": said, "inputSchema": {"json": object_schema(schema)}}})
    if not taken and maker in FORCEABLE and not is_on(extra.get("thinking")):
        force: JSON = {"any": {}} if maker == "mistral" else {"tool": {"name": name}}
        body["toolConfig"]["toolChoice"] = force
    else:
        body["toolConfig"].pop("toolChoice", None)
        told = {"text": f"Give the final answer only by calling the tool `{name}`."}
        body["system"] = [*body.get("system", ()), told]
    return name


def _top_k(extra: JSON, config: JSON, fields: RequestFields, model: str, traits: ModelTraits) -> None:
    top_k = fields.take("top_k")
    if top_k is None:
        return
    name = takes_top_k(model)
    if family(model) == "amazon":
        extra["inferenceConfig"] = {"topK": top_k}
    elif name and traits.sampling and not is_on(extra.get("thinking")):
        extra[name] = top_k
    else:
        fields.drop("top_k")


def _about(body: JSON, fields: RequestFields) -> None:
    metadata = fields.take("metadata")
    if isinstance(metadata, dict):
        told = {key: value for key, value in metadata.items() if isinstance(key, str) and isinstance(value, str)}
        if told:
            body["requestMetadata"] = told
    tier = fields.take("service_tier")
    if tier in TIERS:
        body["serviceTier"] = {"type": TIERS[tier]}
    elif tier is not None and tier != "auto":
        fields.drop("service_tier")
    for name in ("guardrailConfig", "performanceConfig", "requestMetadata", "promptVariables"):
        value = fields.take(name)
        if value is not None:
            body[name] = value
