"""What OpenAI's endpoints take, after its published API reference: chat."""

from __future__ import annotations

from instance.mock_upstream.shapes import (
    ANYTHING,
    BOOLEAN,
    COUNT,
    INTEGER,
    NUMBER,
    OBJECT,
    STRING,
    STRINGS,
    Schema,
    between,
    enum,
    listed,
    mapping,
    nullable,
    record,
    tagged,
    text_or,
    text_or_list,
)

TOOL_NAME: Schema = {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,64}$"}
_BREAKPOINT = {"prompt_cache_breakpoint": record({"mode": enum("explicit")}, {"ttl": enum("30m", "12h")})}

TEXT_PART = record({"type": enum("text"), "text": STRING}, _BREAKPOINT)
USER_PARTS: dict[str, Schema] = {
    "text": TEXT_PART,
    "image_url": record(
        {"image_url": record({"url": STRING}, {"detail": enum("auto", "low", "high", "original")})}, _BREAKPOINT
    ),
    "input_audio": record({"input_audio": record({"data": STRING, "format": enum("wav", "mp3")})}, _BREAKPOINT),
    "file": record({"file": record({}, {"file_data": STRING, "file_id": STRING, "filename": STRING})}, _BREAKPOINT),
}
FUNCTION_CALL = record({"name": STRING, "arguments": STRING})
TOOL_CALL = tagged(
    "type",
    {
        "function": record({"id": STRING, "function": FUNCTION_CALL}),
        "custom": record({"id": STRING, "custom": record({"name": STRING, "input": STRING})}),
    },
)
_TEXTS = text_or_list(TEXT_PART, 1)
ASSISTANT = {
    "content": nullable(text_or_list(tagged("type", {"text": TEXT_PART, "refusal": record({"refusal": STRING})}), 1)),
    "name": STRING,
    "refusal": nullable(STRING),
    "tool_calls": listed(TOOL_CALL, 1),
    "function_call": nullable(FUNCTION_CALL),
    "audio": nullable(record({"id": STRING})),
    "annotations": nullable(listed(OBJECT)),
}
MESSAGES: dict[str, Schema] = {
    "system": record({"content": _TEXTS}, {"name": STRING}),
    "developer": record({"content": _TEXTS}, {"name": STRING}),
    "user": record({"content": text_or_list(tagged("type", USER_PARTS), 1)}, {"name": STRING}),
    "assistant": record({}, ASSISTANT),
    "tool": record({"content": _TEXTS, "tool_call_id": STRING}),
    "function": record({"content": nullable(STRING), "name": STRING}),
}
FUNCTION = record({"name": TOOL_NAME}, {"description": STRING, "parameters": OBJECT, "strict": nullable(BOOLEAN)})
TOOLS = listed(
    tagged(
        "type",
        {
            "function": record({"function": FUNCTION}),
            "custom": record({"custom": record({"name": TOOL_NAME}, {"description": STRING, "format": OBJECT})}),
        },
    ),
    at_most=128,
)
TOOL_CHOICE: Schema = {
    **text_or(
        tagged(
            "type",
            {
                "function": record({"function": record({"name": STRING})}),
                "custom": record({"custom": record({"name": STRING})}),
                "allowed_tools": record(
                    {"allowed_tools": record({"mode": enum("auto", "required"), "tools": listed(OBJECT)})}
                ),
            },
        )
    ),
    "else": {"enum": ["none", "auto", "required"]},
}
RESPONSE_FORMAT = tagged(
    "type",
    {
        "text": record({}),
        "json_object": record({}),
        "json_schema": record(
            {
                "json_schema": record(
                    {"name": TOOL_NAME}, {"description": STRING, "schema": OBJECT, "strict": nullable(BOOLEAN)}
                )
            }
        ),
    },
)
STREAM_OPTIONS = record({}, {"include_usage": BOOLEAN, "include_obfuscation": BOOLEAN})
METADATA: Schema = {**mapping({"type": "string", "maxLength": 512}), "maxProperties": 16}

CHAT_OPTIONAL: dict[str, Schema] = {
    "audio": nullable(record({"format": STRING, "voice": {"type": ["string", "object"]}})),
    "frequency_penalty": nullable(between(-2, 2)),
    "function_call": text_or(record({"name": STRING})),
    "functions": listed(record({"name": TOOL_NAME}, {"description": STRING, "parameters": OBJECT}), 1),
    "logit_bias": nullable(mapping(between(-100, 100))),
    "logprobs": nullable(BOOLEAN),
    "max_completion_tokens": nullable(COUNT),
    "max_tokens": nullable(COUNT),
    "metadata": nullable(METADATA),
    "modalities": nullable(listed(enum("text", "audio"))),
    "moderation": nullable(OBJECT),
    "n": nullable(between(1, 128, "integer")),
    "parallel_tool_calls": BOOLEAN,
    "prediction": nullable(record({"type": enum("content"), "content": _TEXTS})),
    "presence_penalty": nullable(between(-2, 2)),
    "prompt_cache_key": nullable(STRING),
    "prompt_cache_options": OBJECT,
    "prompt_cache_retention": nullable(enum("in_memory", "24h")),
    "reasoning_effort": nullable(enum("none", "minimal", "low", "medium", "high", "xhigh", "max")),
    "response_format": RESPONSE_FORMAT,
    "safety_identifier": nullable(STRING),
    "seed": nullable(INTEGER),
    "service_tier": nullable(enum("auto", "default", "flex", "scale", "priority", "fast")),
    "stop": nullable({**STRINGS, "type": ["string", "array"], "maxItems": 4}),
    "store": nullable(BOOLEAN),
    "stream": nullable(BOOLEAN),
    "stream_options": nullable(STREAM_OPTIONS),
    "temperature": nullable(between(0, 2)),
    "tool_choice": TOOL_CHOICE,
    "tools": TOOLS,
    "top_logprobs": nullable(between(0, 20, "integer")),
    "top_p": nullable(between(0, 1)),
    "user": STRING,
    "verbosity": nullable(enum("low", "medium", "high")),
    "web_search_options": OBJECT,
}
CHAT = record({"model": STRING, "messages": listed(tagged("role", MESSAGES), 1)}, CHAT_OPTIONAL)

COMPLETIONS = record(
    {"model": STRING, "prompt": nullable({"type": ["string", "array"], "minItems": 1})},
    {
        "best_of": nullable(between(1, 20, "integer")),
        "echo": nullable(BOOLEAN),
        "logprobs": nullable(between(0, 5, "integer")),
        "suffix": nullable(STRING),
        **{
            name: CHAT_OPTIONAL[name]
            for name in (
                "frequency_penalty", "logit_bias", "max_tokens", "n", "presence_penalty", "seed", "stop", "stream",
                "stream_options", "temperature", "top_p", "user",
            )
        },
    },
)  # fmt: skip

EMBEDDINGS = record(
    {"model": STRING, "input": {"type": ["string", "array"], "minLength": 1, "minItems": 1, "maxItems": 2048}},
    {"dimensions": COUNT, "encoding_format": enum("float", "base64"), "user": STRING},
)
MODERATIONS = record(
    {
        "input": text_or_list(
            {
                "if": {"type": "object"},
                "then": tagged(
                    "type",
                    {"text": record({"text": STRING}), "image_url": record({"image_url": record({"url": STRING})})},
                ),
                "else": STRING,
            },
            1,
        )
    },
    {"model": STRING},
)

_IMAGE_SIZE: Schema = {"type": "string", "pattern": "^(auto|[0-9]+x[0-9]+)$"}
_IMAGE_OPTIONAL: dict[str, Schema] = {
    "background": nullable(enum("transparent", "opaque", "auto")),
    "model": nullable(STRING),
    "n": nullable(between(1, 10, "integer")),
    "output_compression": nullable(between(0, 100, "integer")),
    "output_format": nullable(enum("png", "webp", "jpeg", "gif", "svg")),
    "partial_images": nullable(between(0, 3, "integer")),
    "quality": nullable(enum("low", "medium", "high", "xhigh", "max", "auto", "standard", "hd")),
    "response_format": nullable(enum("url", "b64_json")),
    "safety_identifier": nullable(STRING),
    "size": nullable(_IMAGE_SIZE),
    "stream": nullable(BOOLEAN),
    "user": STRING,
}
IMAGES = record(
    {"prompt": {"type": "string", "maxLength": 32_000}},
    {**_IMAGE_OPTIONAL, "moderation": nullable(enum("low", "auto")), "style": nullable(enum("vivid", "natural"))},
)


def _form(fields: dict[str, Schema], lists: tuple[str, ...] = ()) -> dict[str, Schema]:
    """The same fields as a form has them: all text."""
    made: dict[str, Schema] = {}
    for name, schema in fields.items():
        made[name] = {"type": "string", **({"enum": schema["enum"]} if "enum" in schema else {})}
        if name in lists:
            made[name] = {"type": ["string", "array"]}
        if schema.get("type") in ("integer", ["integer", "null"]):
            made[name] = {"type": "string", "pattern": "^-?[0-9]+$"}
        if schema.get("type") in ("number", ["number", "null"]):
            made[name] = {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$"}
        if schema.get("type") in ("boolean", ["boolean", "null"]):
            made[name] = enum("true", "false")
    return made


_FILES: Schema = {"type": ["string", "array"]}
IMAGE_EDITS = record(
    {"image": _FILES, "prompt": STRING},
    _form({**_IMAGE_OPTIONAL, "mask": STRING, "input_fidelity": enum("high", "low")}),
)
IMAGE_VARIATIONS = record(
    {"image": STRING},
    _form({name: _IMAGE_OPTIONAL[name] for name in ("model", "n", "response_format", "size", "user")}),
)
SPEECH = record(
    {"model": STRING, "input": {"type": "string", "minLength": 1, "maxLength": 4096}, "voice": text_or(OBJECT)},
    {
        "instructions": STRING,
        "response_format": enum("mp3", "opus", "aac", "flac", "wav", "pcm"),
        "speed": between(0.25, 4),
        "stream_format": enum("sse", "audio"),
    },
)
TRANSCRIPTIONS = record(
    {"file": STRING, "model": STRING},
    _form(
        {
            "chunking_strategy": ANYTHING,
            "include": ANYTHING,
            "known_speaker_names": ANYTHING,
            "known_speaker_references": ANYTHING,
            "language": STRING,
            "prompt": STRING,
            "response_format": enum("json", "text", "srt", "verbose_json", "vtt", "diarized_json"),
            "stream": BOOLEAN,
            "temperature": NUMBER,
            "timestamp_granularities": ANYTHING,
        },
        ("include", "known_speaker_names", "known_speaker_references", "timestamp_granularities"),
    ),
)
TRANSLATIONS = record(
    {"file": STRING, "model": STRING},
    _form(
        {
            "prompt": STRING,
            "response_format": enum("json", "text", "srt", "verbose_json", "vtt"),
            "temperature": NUMBER,
        }
    ),
)
RERANK = record(
    {"query": STRING, "documents": listed({"type": ["string", "object"]}, 1)},
    {
        "model": STRING,
        "top_n": COUNT,
        "return_documents": BOOLEAN,
        "rank_fields": STRINGS,
        "max_chunks_per_doc": INTEGER,
        "max_tokens_per_doc": INTEGER,
        "overlap_tokens": INTEGER,
    },
)
