"""What DeepSeek's API takes: texts only, and thinking in its history."""

from __future__ import annotations

from instance.mock_upstream.dialects.like_schemas import CALL, REASONING, chat_of
from instance.mock_upstream.dialects.openai_schemas import (
    MESSAGES,
)
from instance.mock_upstream.shapes import (
    BOOLEAN,
    STRING,
    STRINGS,
    enum,
    listed,
    nullable,
    record,
    tagged,
    text_or_list,
)

_ONLY_TEXT = text_or_list(tagged("type", {"text": record({"text": STRING})}))

_DEEPSEEK_TEXTS = {
    role: {**message, "properties": {**message["properties"], "content": _ONLY_TEXT}}
    for role, message in MESSAGES.items()
}

DEEPSEEK = chat_of(
    "frequency_penalty max_tokens presence_penalty stop stream stream_options temperature top_p tools tool_choice "
    "logprobs top_logprobs",
    {
        "response_format": record({"type": enum("text", "json_object")}),
        "thinking": record({"type": enum("enabled", "disabled")}),
        "reasoning_effort": enum("low", "medium", "high", "max"),
        "stop": nullable({**STRINGS, "type": ["string", "array"], "maxItems": 16}),
    },
    {
        **{role: _DEEPSEEK_TEXTS[role] for role in ("system", "user", "tool")},
        "assistant": record(
            {},
            {
                "content": nullable(_ONLY_TEXT),
                "name": STRING,
                "prefix": BOOLEAN,
                "tool_calls": listed(CALL, 1),
                **REASONING,
            },
        ),
    },
)
