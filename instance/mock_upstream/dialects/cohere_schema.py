"""What Cohere's API takes, version 2, after its published API reference; rerank in version 1 as well."""

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

_TEXT = record({"type": enum("text"), "text": STRING})
_USER_PART = tagged(
    "type",
    {
        "text": record({"text": STRING}),
        "image_url": record({"image_url": record({"url": STRING}, {"detail": enum("auto", "low", "high")})}),
    },
)
_DOCUMENT = record({"data": {"type": ["object", "string"]}}, {"id": STRING})
_RESULT_PART = tagged("type", {"text": record({"text": STRING}), "document": record({"document": _DOCUMENT})})
_CALL = record(
    {"id": STRING, "type": enum("function"), "function": record({"name": STRING, "arguments": STRING})},
)
_ASSISTANT_PART = tagged("type", {"text": record({"text": STRING}), "thinking": record({"thinking": STRING})})
_MESSAGES: dict[str, Schema] = {
    "system": record({"content": text_or_list(_TEXT)}),
    "user": record({"content": text_or_list(_USER_PART)}),
    "assistant": record(
        {},
        {
            "content": nullable(text_or_list(_ASSISTANT_PART)),
            "tool_calls": nullable(listed(_CALL)),
            "tool_plan": nullable(STRING),
            "citations": nullable(listed(OBJECT)),
        },
    ),
    "tool": record({"tool_call_id": NONEMPTY, "content": text_or_list(_RESULT_PART)}),
}
_TOOL = record(
    {
        "type": enum("function"),
        "function": record(
            {"name": {"type": "string", "pattern": "^[a-zA-Z_][a-zA-Z0-9_-]*$"}, "parameters": OBJECT},
            {"description": STRING},
        ),
    }
)
CHAT = record(
    {"model": NONEMPTY, "messages": listed(tagged("role", _MESSAGES), 1)},
    {
        "stream": BOOLEAN,
        "tools": listed(_TOOL),
        "strict_tools": BOOLEAN,
        "documents": listed(text_or(_DOCUMENT)),
        "citation_options": record({}, {"mode": enum("FAST", "ACCURATE", "OFF", "ENABLED", "DISABLED")}),
        "response_format": tagged(
            "type", {"text": record({}), "json_object": record({}, {"json_schema": OBJECT, "schema": OBJECT})}
        ),
        "safety_mode": enum("CONTEXTUAL", "STRICT", "OFF", "NONE"),
        "max_tokens": COUNT,
        "stop_sequences": {**STRINGS, "maxItems": 5},
        "temperature": between(0, 1),
        "seed": {**INTEGER, "minimum": 0},
        "frequency_penalty": between(0, 1),
        "presence_penalty": between(0, 1),
        "k": between(0, 500, "integer"),
        "p": between(0.01, 0.99),
        "logprobs": BOOLEAN,
        "tool_choice": enum("REQUIRED", "NONE"),
        "thinking": record({"type": enum("enabled", "disabled")}, {"token_budget": COUNT}),
        "priority": between(0, 999, "integer"),
    },
)
EMBED = record(
    {
        "model": NONEMPTY,
        "input_type": enum("search_document", "search_query", "classification", "clustering", "image"),
    },
    {
        "texts": listed(STRING, 1, 96),
        "images": listed(STRING, 1, 1),
        "inputs": listed(record({"content": listed(_USER_PART)}), 1, 96),
        "max_tokens": COUNT,
        "output_dimension": COUNT,
        "embedding_types": listed(enum("float", "int8", "uint8", "binary", "ubinary", "base64")),
        "truncate": enum("NONE", "START", "END"),
        "priority": INTEGER,
    },
)
RERANK = record(
    {"model": NONEMPTY, "query": STRING, "documents": listed(STRING, 1)},
    {"top_n": COUNT, "max_tokens_per_doc": COUNT, "priority": INTEGER, "relevant_spans": OBJECT},
)
RERANK_V1 = record(
    {"query": STRING, "documents": listed(text_or(OBJECT), 1)},
    {
        "model": STRING,
        "top_n": COUNT,
        "rank_fields": STRINGS,
        "return_documents": BOOLEAN,
        "max_chunks_per_doc": COUNT,
    },
)
