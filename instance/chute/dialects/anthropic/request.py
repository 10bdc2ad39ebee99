"""A canonical chat request as the body of `POST /v1/messages`."""

from __future__ import annotations

from typing import NamedTuple

from instance.chute.answer import JSON
from instance.chute.dialects.anthropic.blocks import Dropped
from instance.chute.dialects.anthropic.caching import has_marks, mark_for_cache
from instance.chute.dialects.anthropic.conversation import LateSystem, conversation
from instance.chute.dialects.anthropic.model_traits import ModelTraits, model_traits
from instance.chute.dialects.anthropic.thinking import EFFORTS, budget, is_on
from instance.chute.dialects.anthropic.tools import write_answer_form, write_tools
from instance.chute.dialects.request_fields import RequestFields, provider_object

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
    write_tools(body, fields, traits, lost)
    answer_tool = write_answer_form(body, fields, traits)
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
