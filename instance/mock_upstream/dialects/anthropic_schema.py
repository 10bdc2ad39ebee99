"""What Anthropic's Messages API takes, after its published API reference."""

from __future__ import annotations

from instance.mock_upstream.shapes import (
    BOOLEAN,
    COUNT,
    INTEGER,
    NONEMPTY,
    OBJECT,
    STRING,
    STRINGS,
    Schema,
    between,
    enum,
    listed,
    nullable,
    record,
    tagged,
    text_or,
    text_or_list,
)

TOOL_ID: Schema = {"type": "string", "pattern": "^[a-zA-Z0-9_-]+$"}
TOOL_NAME: Schema = {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,128}$"}
_CACHE = {"cache_control": nullable(record({"type": enum("ephemeral")}, {"ttl": enum("5m", "1h")}))}
IMAGE_TYPE = enum("image/jpeg", "image/png", "image/gif", "image/webp")

_TEXT_FIELDS: tuple[dict[str, Schema], dict[str, Schema]] = (
    {"text": NONEMPTY},
    {**_CACHE, "citations": nullable(listed(OBJECT))},
)
_TEXT = record({"type": enum("text"), **_TEXT_FIELDS[0]}, _TEXT_FIELDS[1])
_IMAGE = record(
    {
        "source": tagged(
            "type",
            {
                "base64": record({"media_type": IMAGE_TYPE, "data": NONEMPTY}),
                "url": record({"url": STRING}),
                "file": record({"file_id": STRING}),
            },
        )
    },
    {**_CACHE, "transformations": nullable(OBJECT)},
)
_DOCUMENT = record(
    {
        "source": tagged(
            "type",
            {
                "base64": record({"media_type": enum("application/pdf"), "data": NONEMPTY}),
                "text": record({"media_type": enum("text/plain"), "data": STRING}),
                "url": record({"url": STRING}),
                "file": record({"file_id": STRING}),
                "content": record({"content": text_or_list(OBJECT)}),
            },
        )
    },
    {
        **_CACHE,
        "citations": nullable(record({}, {"enabled": BOOLEAN})),
        "context": nullable(STRING),
        "title": nullable(STRING),
    },
)
_SEARCH_RESULT = record(
    {"content": listed(_TEXT), "source": STRING, "title": STRING},
    {**_CACHE, "citations": record({}, {"enabled": BOOLEAN})},
)
_RESULT_PARTS = tagged(
    "type",
    {
        "text": record(*_TEXT_FIELDS),
        "image": _IMAGE,
        "document": _DOCUMENT,
        "search_result": _SEARCH_RESULT,
        "tool_reference": record({"tool_name": STRING}, _CACHE),
    },
)
BLOCKS: dict[str, Schema] = {
    "text": record(*_TEXT_FIELDS),
    "image": _IMAGE,
    "document": _DOCUMENT,
    "search_result": _SEARCH_RESULT,
    "thinking": record({"thinking": STRING, "signature": STRING}),
    "redacted_thinking": record({"data": STRING}),
    "tool_use": record(
        {"id": TOOL_ID, "name": TOOL_NAME, "input": OBJECT},
        {**_CACHE, "caller": OBJECT, "toolset_name": nullable(STRING)},
    ),
    "tool_result": record(
        {"tool_use_id": TOOL_ID},
        {**_CACHE, "content": text_or_list(_RESULT_PARTS), "is_error": BOOLEAN, "toolset_name": nullable(STRING)},
    ),
    **{
        name: {"type": "object"}
        for name in (
            "server_tool_use", "web_search_tool_result", "web_fetch_tool_result", "code_execution_tool_result",
            "bash_code_execution_tool_result", "text_editor_code_execution_tool_result", "tool_search_tool_result",
            "container_upload",
        )
    },
}  # fmt: skip
_MESSAGE = record({"role": enum("user", "assistant"), "content": text_or_list(tagged("type", BLOCKS))})
_INPUT_SCHEMA: Schema = {
    "type": "object",
    "required": ["type"],
    "properties": {
        "type": {"const": "object"},
        "properties": {"type": ["object", "null"]},
        "required": {"type": ["array", "null"], "items": STRING},
    },
}
_TOOL = record(
    {"name": TOOL_NAME, "input_schema": _INPUT_SCHEMA},
    {
        **_CACHE,
        "type": nullable(enum("custom")),
        "description": STRING,
        "strict": BOOLEAN,
        "allowed_callers": STRINGS,
        "defer_loading": BOOLEAN,
        "eager_input_streaming": nullable(BOOLEAN),
        "input_examples": listed(OBJECT),
    },
)
TOOLS: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "if": {"properties": {"type": {"type": "string", "not": {"const": "custom"}}}, "required": ["type"]},
        "then": {"required": ["type"], "properties": {"type": {"pattern": "_[0-9]{8}$"}}},
        "else": _TOOL,
    },
}
_PARALLEL = {"disable_parallel_tool_use": BOOLEAN}
TOOL_CHOICE = tagged(
    "type",
    {
        "auto": record({}, _PARALLEL),
        "any": record({}, _PARALLEL),
        "tool": record({"name": STRING}, _PARALLEL),
        "none": record({}),
    },
)
_DISPLAY = {"display": nullable(enum("summarized", "omitted"))}
THINKING = tagged(
    "type",
    {
        "enabled": record({"budget_tokens": {**INTEGER, "minimum": 1024}}, _DISPLAY),
        "disabled": record({}),
        "adaptive": record({}, _DISPLAY),
    },
)
OUTPUT_CONFIG = record(
    {},
    {
        "effort": nullable(enum("low", "medium", "high", "xhigh", "max")),
        "format": nullable(record({"type": enum("json_schema"), "schema": OBJECT})),
    },
)
_COUNTED: dict[str, Schema] = {
    "cache_control": _CACHE["cache_control"],
    "mcp_servers": listed(OBJECT),
    "output_config": OUTPUT_CONFIG,
    "speed": nullable(enum("standard", "fast")),
    "system": text_or_list(_TEXT),
    "thinking": THINKING,
    "tool_choice": TOOL_CHOICE,
    "tools": TOOLS,
    "context_management": nullable(OBJECT),
}
_REQUIRED: dict[str, Schema] = {"model": NONEMPTY, "messages": listed(_MESSAGE, 1)}
MESSAGES = record(
    {**_REQUIRED, "max_tokens": COUNT},
    {
        **_COUNTED,
        "container": nullable(text_or(OBJECT)),
        "inference_geo": nullable(STRING),
        "metadata": record({}, {"user_id": nullable({"type": "string", "maxLength": 256})}),
        "service_tier": enum("auto", "standard_only"),
        "stop_sequences": STRINGS,
        "stream": BOOLEAN,
        "temperature": between(0, 1),
        "top_k": {**INTEGER, "minimum": 0},
        "top_p": between(0, 1),
    },
)
COUNT_TOKENS = record(_REQUIRED, _COUNTED)
