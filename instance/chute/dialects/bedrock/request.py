"""A canonical chat request as the body of `POST /model/{id}/converse`."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import quote

from instance.chute.answer import JSON
from instance.chute.dialects.anthropic.model_traits import ModelTraits, model_traits
from instance.chute.dialects.anthropic.thinking import EFFORTS, budget, is_on
from instance.chute.dialects.bedrock.blocks import BlockWriter, Fetched
from instance.chute.dialects.bedrock.conversation import Conversation, conversation
from instance.chute.dialects.bedrock.model_family import family, takes_top_k
from instance.chute.dialects.bedrock.tools import write_answer_form, write_tools
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
    write_tools(body, extra, fields, talk, claude, traits, writer.dropped)
    answer_tool = write_answer_form(body, extra, fields, traits, maker)
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
