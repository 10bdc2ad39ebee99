"""What Together's API takes, after its published reference and SDK."""

from __future__ import annotations

from instance.mock_upstream.dialects.like_schemas import COMMON, REASONING, chat_of, with_fields
from instance.mock_upstream.dialects.openai_schemas import (
    MESSAGES,
)
from instance.mock_upstream.shapes import (
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
)

TOGETHER = chat_of(
    COMMON + " logit_bias stream_options parallel_tool_calls user",
    {
        "logprobs": between(0, 20, "integer"),
        "echo": BOOLEAN,
        "min_p": between(0, 1),
        "top_k": INTEGER,
        "repetition_penalty": NUMBER,
        "response_format": tagged(
            "type",
            {
                "text": record({}),
                "json_object": record({}, {"schema": OBJECT}),
                "json_schema": record(
                    {},
                    {
                        "schema": OBJECT,
                        "json_schema": record(
                            {"name": STRING}, {"schema": OBJECT, "description": STRING, "strict": nullable(BOOLEAN)}
                        ),
                    },
                ),
                "regex": record({"pattern": STRING}),
            },
        ),
        "safety_model": STRING,
        "context_length_exceeded_behavior": enum("truncate", "error"),
        "chat_template_kwargs": OBJECT,
        "reasoning": OBJECT,
        "reasoning_effort": enum("low", "medium", "high"),
        "compliance": enum("hipaa"),
    },
    {**MESSAGES, "assistant": with_fields(MESSAGES["assistant"], {**REASONING, "reasoning": nullable(STRING)})},
)

TOGETHER_IMAGES = record(
    {"model": STRING, "prompt": STRING},
    {
        "disable_safety_checker": BOOLEAN,
        "guidance_scale": NUMBER,
        "height": COUNT,
        "width": COUNT,
        "image_loras": listed(OBJECT),
        "image_url": STRING,
        "n": COUNT,
        "negative_prompt": STRING,
        "output_format": enum("jpeg", "png"),
        "reference_images": STRINGS,
        "response_format": enum("base64", "url"),
        "seed": INTEGER,
        "steps": COUNT,
    },
)

TOGETHER_SPEECH = record(
    {"model": STRING, "input": STRING, "voice": STRING},
    {
        "language": STRING,
        "response_encoding": STRING,
        "response_format": enum("mp3", "wav", "raw", "mulaw"),
        "sample_rate": INTEGER,
        "speed": NUMBER,
        "stream": BOOLEAN,
    },
)
