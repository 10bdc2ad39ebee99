"""What Mistral's API takes, after its published reference and SDK."""

from __future__ import annotations

from instance.mock_upstream.dialects.openai_schemas import (
    CHAT_OPTIONAL,
    TEXT_PART,
    TOOL_NAME,
)
from instance.mock_upstream.shapes import (
    ANYTHING,
    BOOLEAN,
    COUNT,
    INTEGER,
    NUMBER,
    OBJECT,
    STRING,
    STRINGS,
    between,
    enum,
    listed,
    nullable,
    record,
    tagged,
    text_or,
    text_or_list,
)

_THINK = record({"thinking": listed(TEXT_PART)}, {"closed": BOOLEAN, "signature": nullable(STRING)})

_MISTRAL_CALL = record(
    {"id": STRING, "function": record({"name": STRING, "arguments": text_or(OBJECT)})},
    {"type": enum("function"), "index": INTEGER},
)

_MISTRAL_PARTS = tagged(
    "type",
    {
        "text": record({"text": STRING}),
        "image_url": record({"image_url": text_or(record({"url": STRING}, {"detail": nullable(STRING)}))}),
        "document_url": record({"document_url": STRING}, {"document_name": nullable(STRING)}),
        "input_audio": record({"input_audio": ANYTHING}),
        "file": record({"file_id": STRING}),
        "reference": record({"reference_ids": listed(ANYTHING)}),
        "thinking": _THINK,
    },
)

_MISTRAL_FUNCTION = record({"name": TOOL_NAME, "parameters": OBJECT}, {"description": STRING, "strict": BOOLEAN})

MISTRAL = record(
    {
        "model": STRING,
        "messages": listed(
            tagged(
                "role",
                {
                    "system": record({"content": text_or_list(_MISTRAL_PARTS)}),
                    "user": record({"content": nullable(text_or_list(_MISTRAL_PARTS))}),
                    "assistant": record(
                        {},
                        {
                            "content": nullable(text_or_list(_MISTRAL_PARTS)),
                            "tool_calls": nullable(listed(_MISTRAL_CALL)),
                            "prefix": BOOLEAN,
                        },
                    ),
                    "tool": record(
                        {"content": nullable(text_or_list(_MISTRAL_PARTS))},
                        {"tool_call_id": nullable(STRING), "name": nullable(STRING)},
                    ),
                },
            ),
            1,
        ),
    },
    {
        "temperature": nullable(between(0, 1.5)),
        "top_p": nullable(between(0, 1)),
        "top_k": nullable(INTEGER),
        "max_tokens": nullable({**INTEGER, "minimum": 0}),
        "min_tokens": nullable(INTEGER),
        "stream": BOOLEAN,
        "stop": nullable({**STRINGS, "type": ["string", "array"]}),
        "random_seed": nullable({**INTEGER, "minimum": 0}),
        "metadata": nullable(OBJECT),
        "response_format": record(
            {"type": enum("text", "json_object", "json_schema")},
            {
                "json_schema": nullable(
                    record({"name": STRING, "schema": OBJECT}, {"description": nullable(STRING), "strict": BOOLEAN})
                )
            },
        ),
        "tools": nullable(listed(record({"function": _MISTRAL_FUNCTION}, {"type": enum("function")}))),
        "tool_choice": {
            **text_or(record({"function": record({"name": STRING})}, {"type": enum("function")})),
            "else": {"enum": ["auto", "none", "any", "required"]},
        },
        "presence_penalty": nullable(between(-2, 2)),
        "frequency_penalty": nullable(between(-2, 2)),
        "repetition_penalty": nullable(NUMBER),
        "n": nullable(COUNT),
        "prediction": CHAT_OPTIONAL["prediction"],
        "parallel_tool_calls": BOOLEAN,
        "reasoning_effort": nullable(enum("none", "low", "medium", "high")),
        "prompt_mode": nullable(enum("reasoning")),
        "guardrails": nullable(listed(OBJECT)),
        "prompt_cache_key": nullable(STRING),
        "safe_prompt": BOOLEAN,
    },
)

MISTRAL_EMBEDDINGS = record(
    {"model": STRING, "input": text_or_list(STRING)},
    {
        "metadata": nullable(OBJECT),
        "output_dimension": nullable(COUNT),
        "output_dtype": enum("float", "int8", "uint8", "binary", "ubinary"),
        "encoding_format": enum("float", "base64"),
    },
)

MISTRAL_MODERATIONS = record(
    {"model": STRING, "input": text_or_list(STRING)}, {"metadata": nullable(OBJECT), "guardrails": OBJECT}
)

MISTRAL_TRANSCRIPTIONS = record(
    {"model": STRING},
    {
        "file": STRING,
        "file_url": STRING,
        "file_id": STRING,
        "language": STRING,
        "prompt": STRING,
        "response_format": STRING,
        "temperature": STRING,
        "stream": enum("true", "false"),
        "timestamp_granularities": {"type": ["string", "array"]},
    },
)
