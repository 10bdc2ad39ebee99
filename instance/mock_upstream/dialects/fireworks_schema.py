"""What Fireworks' API takes, after its published reference and SDK."""

from __future__ import annotations

from instance.mock_upstream.dialects.like_schemas import COMMON, REASONING, chat_of, with_fields
from instance.mock_upstream.dialects.openai_schemas import (
    MESSAGES,
)
from instance.mock_upstream.shapes import (
    BOOLEAN,
    INTEGER,
    NUMBER,
    OBJECT,
    STRING,
    between,
    enum,
    nullable,
    record,
)

FIREWORKS = chat_of(
    COMMON + " function_call functions logit_bias max_completion_tokens metadata parallel_tool_calls prediction "
    "prompt_cache_key stream_options top_logprobs user",
    {
        "context_length_exceeded_behavior": enum("error", "truncate"),
        "echo": nullable(BOOLEAN),
        "echo_last": nullable(INTEGER),
        "ignore_eos": BOOLEAN,
        "logprobs": nullable({"type": ["integer", "boolean"]}),
        "min_p": nullable(between(0, 1)),
        "mirostat_lr": nullable(NUMBER),
        "mirostat_target": nullable(NUMBER),
        "perf_metrics_in_response": nullable(BOOLEAN),
        "prompt_cache_isolation_key": nullable(STRING),
        "prompt_truncate_len": nullable(INTEGER),
        "raw_output": nullable(BOOLEAN),
        "reasoning_effort": nullable({"type": ["string", "integer", "boolean"]}),
        "reasoning_history": nullable(enum("disabled", "interleaved", "preserved")),
        "repetition_penalty": nullable(between(0, 2)),
        "response_format": record(
            {"type": enum("text", "json_object", "json_schema", "grammar")},
            {
                "grammar": nullable(STRING),
                "schema": nullable({"type": ["string", "object"]}),
                "json_schema": nullable({"type": ["string", "object"]}),
            },
        ),
        "return_token_ids": nullable(BOOLEAN),
        "safe_tokenization": nullable(BOOLEAN),
        "service_tier": enum("auto", "default", "flex", "priority"),
        "speculation": nullable({"type": ["string", "array"]}),
        "thinking": nullable(OBJECT),
        "top_k": nullable(between(0, 100, "integer")),
        "typical_p": nullable(between(0, 1)),
    },
    {**MESSAGES, "assistant": with_fields(MESSAGES["assistant"], REASONING)},
)
