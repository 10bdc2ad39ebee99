"""What Groq's API takes: no logprobs, no logit_bias, no names on messages."""

from __future__ import annotations

from instance.mock_upstream.dialects.like_schemas import CALL, chat_of, with_fields, without_fields
from instance.mock_upstream.dialects.openai_schemas import (
    MESSAGES,
)
from instance.mock_upstream.shapes import (
    BOOLEAN,
    INTEGER,
    OBJECT,
    STRING,
    enum,
    listed,
    nullable,
)

_GROQ_REFUSES = ("name", "refusal", "audio", "annotations")

_GROQ_MESSAGES = {
    **{role: without_fields(message, *_GROQ_REFUSES) for role, message in MESSAGES.items()},
    "tool": with_fields(MESSAGES["tool"], {"name": STRING}),
    "assistant": with_fields(
        without_fields(MESSAGES["assistant"], *_GROQ_REFUSES),
        {"reasoning": nullable(STRING), "tool_calls": nullable(listed(CALL))},
    ),
}

GROQ = chat_of(
    "function_call functions max_completion_tokens max_tokens metadata parallel_tool_calls presence_penalty "
    "frequency_penalty response_format seed stop store stream stream_options temperature tool_choice tools top_p user",
    {
        "n": nullable(INTEGER),
        "include_reasoning": nullable(BOOLEAN),
        "reasoning_effort": nullable(enum("none", "default", "low", "medium", "high")),
        "reasoning_format": nullable(enum("hidden", "raw", "parsed")),
        "service_tier": nullable(enum("auto", "on_demand", "flex", "performance")),
        "documents": nullable(listed(OBJECT)),
        "citation_options": nullable(enum("enabled", "disabled")),
        "search_settings": nullable(OBJECT),
        "compound_custom": nullable(OBJECT),
        "disable_tool_validation": BOOLEAN,
    },
    _GROQ_MESSAGES,
)
