"""What Amazon Bedrock's Converse takes, after the service's published model."""

from __future__ import annotations

from instance.mock_upstream.shapes import (
    BOOLEAN,
    COUNT,
    OBJECT,
    STRING,
    STRINGS,
    Schema,
    between,
    enum,
    exactly_one,
    listed,
    mapping,
    nullable,
    record,
)

_ID: Schema = {"type": "string", "pattern": "^[a-zA-Z0-9_.:-]{1,64}$"}
TOOL_NAME: Schema = {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,64}$"}
_NONEMPTY: Schema = {"type": "string", "minLength": 1}
_BLOB: Schema = {"type": "string", "pattern": "^[A-Za-z0-9+/]+={0,2}$"}
_S3 = record({"uri": {"type": "string", "pattern": "^s3://"}}, {"bucketOwner": STRING})
_CACHE_POINT = record({"type": enum("default")}, {"ttl": enum("5m", "1h")})
_CITATIONS = record({"enabled": BOOLEAN})
_IMAGE = record(
    {"format": enum("png", "jpeg", "gif", "webp"), "source": exactly_one({"bytes": _BLOB, "s3Location": _S3})}
)
_DOCUMENT = record(
    {
        "name": {"type": "string", "pattern": r"^[a-zA-Z0-9 ()\[\]-]{1,200}$"},
        "source": exactly_one(
            {"bytes": _BLOB, "s3Location": _S3, "text": STRING, "content": listed(record({"text": STRING}))}
        ),
    },
    {
        "format": enum("pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"),
        "context": STRING,
        "citations": _CITATIONS,
    },
)
_VIDEO = record(
    {
        "format": enum("mkv", "mov", "mp4", "webm", "flv", "mpeg", "mpg", "wmv", "three_gp"),
        "source": exactly_one({"bytes": _BLOB, "s3Location": _S3}),
    }
)
_AUDIO = record({"format": STRING, "source": exactly_one({"bytes": _BLOB, "s3Location": _S3})})
_SEARCH_RESULT = record(
    {"source": STRING, "title": STRING, "content": listed(record({"text": STRING}))}, {"citations": _CITATIONS}
)
_RESULT = exactly_one(
    {
        "json": OBJECT,
        "text": STRING,
        "image": _IMAGE,
        "document": _DOCUMENT,
        "video": _VIDEO,
        "searchResult": _SEARCH_RESULT,
    }
)
_GUARDED = exactly_one(
    {
        "text": record({"text": STRING}, {"qualifiers": listed(enum("grounding_source", "query", "guard_content"))}),
        "image": record({"format": enum("png", "jpeg"), "source": exactly_one({"bytes": _BLOB})}),
    }
)
BLOCK = exactly_one(
    {
        "text": STRING,
        "image": _IMAGE,
        "document": _DOCUMENT,
        "video": _VIDEO,
        "audio": _AUDIO,
        "toolUse": record({"toolUseId": _ID, "name": TOOL_NAME, "input": OBJECT}, {"type": STRING}),
        "toolResult": record(
            {"toolUseId": _ID, "content": listed(_RESULT)}, {"status": enum("success", "error"), "type": STRING}
        ),
        "guardContent": _GUARDED,
        "cachePoint": _CACHE_POINT,
        "reasoningContent": exactly_one(
            {"reasoningText": record({"text": STRING}, {"signature": STRING}), "redactedContent": _BLOB}
        ),
        "citationsContent": OBJECT,
        "searchResult": _SEARCH_RESULT,
    }
)
_TOOLS = listed(
    exactly_one(
        {
            "toolSpec": record(
                {"name": TOOL_NAME, "inputSchema": exactly_one({"json": OBJECT})},
                {"description": _NONEMPTY, "strict": BOOLEAN},
            ),
            "systemTool": record({"name": TOOL_NAME}),
            "cachePoint": _CACHE_POINT,
        }
    ),
    1,
)
CONVERSE = record(
    {"messages": listed(record({"role": enum("user", "assistant"), "content": listed(BLOCK, 1)}), 1)},
    {
        "system": listed(exactly_one({"text": _NONEMPTY, "guardContent": _GUARDED, "cachePoint": _CACHE_POINT})),
        "inferenceConfig": record(
            {},
            {
                "maxTokens": COUNT,
                "temperature": between(0, 1),
                "topP": between(0, 1),
                "stopSequences": listed(_NONEMPTY, at_most=2500),
            },
        ),
        "toolConfig": record(
            {"tools": _TOOLS},
            {"toolChoice": exactly_one({"auto": record({}), "any": record({}), "tool": record({"name": TOOL_NAME})})},
        ),
        "guardrailConfig": record(
            {"guardrailIdentifier": STRING, "guardrailVersion": {"type": "string", "pattern": "^([1-9][0-9]*|DRAFT)$"}},
            {
                "trace": enum("enabled", "disabled", "enabled_full"),
                "streamProcessingMode": enum("sync", "async"),
            },
        ),
        "additionalModelRequestFields": nullable(OBJECT),
        "additionalModelResponseFieldPaths": {**STRINGS, "maxItems": 10},
        "promptVariables": mapping(OBJECT),
        "requestMetadata": mapping({"type": "string", "maxLength": 256}),
        "performanceConfig": record({}, {"latency": enum("standard", "optimized")}),
        "serviceTier": record({"type": enum("priority", "default", "flex", "reserved")}),
        "outputConfig": record(
            {},
            {
                "textFormat": record(
                    {
                        "type": enum("json_schema"),
                        "structure": exactly_one(
                            {"jsonSchema": record({"schema": STRING}, {"name": STRING, "description": STRING})}
                        ),
                    }
                ),
                "effort": STRING,
            },
        ),
        "projectIdentifier": STRING,
    },
)
