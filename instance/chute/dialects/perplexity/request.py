"""A chat request as Perplexity takes it. Source: docs.perplexity.ai, Chat Completions."""

from __future__ import annotations

from instance.chute.answer import JSON
from instance.chute.dialects.openai_like.draft import Draft
from instance.chute.dialects.openai_like.openai_fields import OPENAI_ONLY
from instance.chute.dialects.perplexity.turns import in_turns

ABSENT = (
    *(name for name in OPENAI_ONLY if name != "web_search_options"),
    *(
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "n",
        "logprobs",
        "top_logprobs",
        "logit_bias",
        "seed",
        "stop",
        "user",
    ),
)
PROVIDERS_CONTEXT = "low"
"""What Perplexity searches by itself; it is not sent."""


def fit(draft: Draft, *, search_context: str = PROVIDERS_CONTEXT, default_domains: list[str] | None = None) -> None:
    """Change the request to what Perplexity takes."""
    draft.rename("max_completion_tokens", "max_tokens")
    draft.remove("stream_options")
    draft.drop(*ABSENT)
    draft.set("messages", in_turns(draft.req["messages"]))
    _search_options(draft, search_context)
    if default_domains and draft.get("search_domain_filter") is None:
        draft.set("search_domain_filter", default_domains)


def _search_options(draft: Draft, search_context: str) -> None:
    """OpenAI's `web_search_options` are Perplexity's but for the place of the user, which lies one level higher here."""
    given = draft.get("web_search_options")
    options: JSON = dict(given) if isinstance(given, dict) else {}
    place = options.get("user_location")
    if isinstance(place, dict) and isinstance(place.get("approximate"), dict):
        options["user_location"] = {name: value for name, value in place["approximate"].items() if name != "timezone"}
    if "search_context_size" not in options and search_context != PROVIDERS_CONTEXT:
        options["search_context_size"] = search_context
    if options:
        draft.set("web_search_options", options)
