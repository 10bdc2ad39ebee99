"""A chat request as Fireworks takes it. Source: docs.fireworks.ai, Create Chat Completion."""

from __future__ import annotations

from instance.chute.answer import JSON
from instance.chute.dialects.openai_like.draft import Draft
from instance.chute.dialects.openai_like.openai_fields import OPENAI_ONLY

ABSENT = tuple(
    name for name in OPENAI_ONLY if name not in ("prediction", "metadata", "prompt_cache_key", "service_tier")
)


def full_name(model: str, account: str) -> str:
    """`accounts/ACCOUNT/models/MODEL` for a short name; full names, other paths and deployments (`#…`) stay."""
    name, mark, deployment = model.partition("#")
    if name and "/" not in name:
        name = f"accounts/{account}/models/{name}"
    return name + mark + deployment


def fit(draft: Draft, *, max_tokens: int, context_overflow: str) -> None:
    """Change the request to what Fireworks takes; `max_tokens` is sent when the caller set no limit of the answer."""
    draft.rename("max_completion_tokens", "max_tokens")
    if draft.get("max_tokens") is None:
        draft.set("max_tokens", max_tokens)
    if draft.get("context_length_exceeded_behavior") is None:
        draft.set("context_length_exceeded_behavior", context_overflow)
    draft.drop(*ABSENT)
    draft.each_message(_message)


def _message(message: JSON) -> JSON:
    return {**message, "role": "system"} if message.get("role") == "developer" else message
