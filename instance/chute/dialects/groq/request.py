"""A chat request as Groq takes it. Source: console.groq.com/docs, the API reference and OpenAI compatibility."""

from __future__ import annotations

from fnmatch import fnmatchcase

from instance.chute.dialects.openai_like.draft import Draft
from instance.chute.dialects.openai_like.openai_fields import OPENAI_ONLY
from instance.chute.dialects.openai_like.schema_instruction import instruct, schema_of

MESSAGE_FIELDS = frozenset(("role", "content", "tool_calls", "tool_call_id"))
ABSENT = (
    "logprobs",
    "top_logprobs",
    "logit_bias",
    *(name for name in OPENAI_ONLY if name not in ("service_tier", "metadata", "store", "functions", "function_call")),
)
COLDEST = 1e-8
"""Sent for temperature 0, which Groq turns into this itself."""
TIERS = {"default": "on_demand", "priority": "performance"}
SCHEMA_MODELS = ("openai/gpt-oss-*", "moonshotai/kimi-k2*", "meta-llama/llama-4-*")
"""Models that take `json_schema`."""
FORMATTED_MODELS = ("qwen*", "*deepseek-r1*", "*qwq*")
"""Models of which thinking is asked for by `reasoning_format`; gpt-oss has `include_reasoning` in its stead."""


def fit(draft: Draft, model: str, *, show_reasoning: bool = True, service_tier: str = "") -> None:
    """Change the request to what Groq takes; `n` is left to the caller of this."""
    draft.drop(*ABSENT)
    temperature = draft.get("temperature")
    if type(temperature) in (int, float) and temperature == 0:
        draft.set("temperature", COLDEST)
    tier = draft.get("service_tier")
    if tier in TIERS:
        draft.set("service_tier", TIERS[tier])
    elif tier is None and service_tier:
        draft.set("service_tier", service_tier)
    _reasoning(draft, model, show_reasoning)
    if schema_of(draft.get("response_format")) is not None and not _is_of(model, SCHEMA_MODELS):
        instruct(draft)


def _reasoning(draft: Draft, model: str, show: bool) -> None:
    if _is_of(model, FORMATTED_MODELS):
        if draft.get("reasoning_format") is None and "include_reasoning" not in draft.req:
            draft.set("reasoning_format", "parsed" if show else "hidden")
    elif not show and "gpt-oss" in model and "include_reasoning" not in draft.req:
        draft.set("include_reasoning", False)


def _is_of(model: str, globs: tuple[str, ...]) -> bool:
    return any(fnmatchcase(model.lower(), glob) for glob in globs)
