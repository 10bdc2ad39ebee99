"""What Google's Gemini API takes, after its published API reference (v1beta)."""

from __future__ import annotations

from typing import Any

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
    exactly_one,
    listed,
    mapping,
    record,
)

_NAME: Schema = {"type": "string", "pattern": "^[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}$"}
_BASE64: Schema = {"type": "string", "pattern": "^[A-Za-z0-9+/_-]*={0,2}$"}
_MIME: Schema = {"type": "string", "pattern": "^[a-z]+/[^ ]+$"}

_DATA: dict[str, Schema] = {
    "text": STRING,
    "inlineData": record({"mimeType": _MIME, "data": _BASE64}, {"displayName": STRING}),
    "fileData": record({"fileUri": STRING}, {"mimeType": _MIME, "displayName": STRING}),
    "functionCall": record({"name": _NAME}, {"args": OBJECT, "id": STRING}),
    "functionResponse": record(
        {"name": _NAME, "response": OBJECT},
        {
            "id": STRING,
            "willContinue": BOOLEAN,
            "scheduling": STRING,
            "parts": listed(record({}, {"inlineData": OBJECT, "fileData": OBJECT})),
        },
    ),
    "executableCode": record({"language": STRING, "code": STRING}, {"id": STRING}),
    "codeExecutionResult": record({"outcome": STRING}, {"output": STRING, "id": STRING}),
    "toolCall": OBJECT,
    "toolResponse": OBJECT,
}
PART = exactly_one(
    _DATA,
    {
        "thought": BOOLEAN,
        "thoughtSignature": _BASE64,
        "videoMetadata": OBJECT,
        "mediaResolution": OBJECT,
        "partMetadata": OBJECT,
    },
)
CONTENT = record({"parts": listed(PART, 1)}, {"role": enum("user", "model", "function")})
_SYSTEM = record({"parts": listed(PART, 1)}, {"role": STRING})
_TYPES = ("STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL")


def _schema_of_schemas() -> Schema:
    """Google's subset of OpenAPI's schema object: no `$ref`, no `additionalProperties`, one type."""
    inner = {"$ref": "#/$defs/schema"}
    count: Schema = {"type": ["integer", "string"]}  # an int64 is a string in Google's JSON
    fields: dict[str, Schema] = {
        "type": enum(*_TYPES, *(name.lower() for name in _TYPES)),
        "format": STRING,
        "title": STRING,
        "description": STRING,
        "nullable": BOOLEAN,
        "enum": STRINGS,
        "items": inner,
        "properties": mapping(inner),
        "required": STRINGS,
        "propertyOrdering": STRINGS,
        "anyOf": listed(inner),
        "minItems": count,
        "maxItems": count,
        "minLength": count,
        "maxLength": count,
        "minProperties": count,
        "maxProperties": count,
        "minimum": NUMBER,
        "maximum": NUMBER,
        "pattern": STRING,
        "default": ANYTHING,
        "example": ANYTHING,
    }
    return record({}, fields)


_SCHEMA: Schema = {"$ref": "#/$defs/schema"}
_DEFS: dict[str, Any] = {"schema": _schema_of_schemas()}
GENERATION_CONFIG = record(
    {},
    {
        "candidateCount": between(1, 8, "integer"),
        "stopSequences": {**STRINGS, "maxItems": 5},
        "maxOutputTokens": COUNT,
        "temperature": between(0, 2),
        "topP": between(0, 1),
        "topK": {"type": "number", "minimum": 1},
        "seed": {**INTEGER, "minimum": -(2**31), "maximum": 2**31 - 1},
        "presencePenalty": between(-2, 2),
        "frequencyPenalty": between(-2, 2),
        "responseLogprobs": BOOLEAN,
        "logprobs": between(0, 20, "integer"),
        "responseMimeType": enum("text/plain", "application/json", "text/x.enum"),
        "responseSchema": _SCHEMA,
        "responseJsonSchema": ANYTHING,
        "_responseJsonSchema": ANYTHING,
        "responseModalities": listed(enum("TEXT", "IMAGE", "AUDIO", "MODALITY_UNSPECIFIED")),
        "speechConfig": OBJECT,
        "thinkingConfig": record(
            {},
            {
                "includeThoughts": BOOLEAN,
                "thinkingBudget": {**INTEGER, "minimum": -1},
                "thinkingLevel": enum("MINIMAL", "LOW", "MEDIUM", "HIGH", "minimal", "low", "medium", "high"),
            },
        ),
        "imageConfig": OBJECT,
        "mediaResolution": STRING,
        "enableEnhancedCivicAnswers": BOOLEAN,
    },
)
_FUNCTION = record(
    {"name": _NAME, "description": STRING},
    {
        "parameters": _SCHEMA,
        "parametersJsonSchema": ANYTHING,
        "response": _SCHEMA,
        "responseJsonSchema": ANYTHING,
        "behavior": STRING,
    },
)
_FUNCTION["required"] = ["name"]
TOOLS = listed(
    record(
        {},
        {
            "functionDeclarations": listed(_FUNCTION, 1, 512),
            "codeExecution": OBJECT,
            "googleSearch": OBJECT,
            "googleSearchRetrieval": OBJECT,
            "urlContext": OBJECT,
            "computerUse": OBJECT,
            "fileSearch": OBJECT,
            "googleMaps": OBJECT,
            "mcpServers": listed(OBJECT),
        },
    )
)
_SAFETY = record(
    {
        "category": {"type": "string", "pattern": "^HARM_CATEGORY_[A-Z_]+$"},
        "threshold": enum(
            "HARM_BLOCK_THRESHOLD_UNSPECIFIED", "BLOCK_LOW_AND_ABOVE", "BLOCK_MEDIUM_AND_ABOVE", "BLOCK_ONLY_HIGH",
            "BLOCK_NONE", "OFF",
        ),
    }
)  # fmt: skip
GENERATE: Schema = {
    **record(
        {"contents": listed(CONTENT, 1)},
        {
            "model": STRING,
            "systemInstruction": _SYSTEM,
            "generationConfig": GENERATION_CONFIG,
            "tools": TOOLS,
            "toolConfig": record(
                {},
                {
                    "functionCallingConfig": record(
                        {},
                        {
                            "mode": enum("MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"),
                            "allowedFunctionNames": STRINGS,
                        },
                    ),
                    "retrievalConfig": OBJECT,
                    "includeServerSideToolInvocations": BOOLEAN,
                },
            ),
            "safetySettings": listed(_SAFETY),
            "cachedContent": STRING,
            "serviceTier": STRING,
            "store": BOOLEAN,
            "labels": mapping(STRING),
        },
    ),
    "$defs": _DEFS,
}
_TASK = enum(
    "TASK_TYPE_UNSPECIFIED", "RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT", "SEMANTIC_SIMILARITY", "CLASSIFICATION",
    "CLUSTERING", "QUESTION_ANSWERING", "FACT_VERIFICATION", "CODE_RETRIEVAL_QUERY",
)  # fmt: skip
_EMBED_OPTIONAL: dict[str, Schema] = {
    "taskType": _TASK,
    "title": STRING,
    "outputDimensionality": COUNT,
    "embedContentConfig": OBJECT,
}
EMBED = record({"content": _SYSTEM}, {"model": STRING, **_EMBED_OPTIONAL})
BATCH_EMBED = record(
    {
        "requests": listed(
            record({"model": {"type": "string", "pattern": "^models/"}, "content": _SYSTEM}, _EMBED_OPTIONAL), 1, 100
        )
    }
)
COUNT_TOKENS = record({}, {"contents": listed(CONTENT, 1), "generateContentRequest": OBJECT})
