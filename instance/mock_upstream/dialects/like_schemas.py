"""What the schemas of the providers have in common whose API resembles OpenAI's."""

from __future__ import annotations

from collections.abc import Mapping

from instance.mock_upstream.dialects.openai_schemas import (
    CHAT_OPTIONAL,
    COMPLETIONS,
    FUNCTION_CALL,
    MESSAGES,
)
from instance.mock_upstream.shapes import (
    BOOLEAN,
    COUNT,
    INTEGER,
    NUMBER,
    STRING,
    Schema,
    enum,
    listed,
    nullable,
    record,
    tagged,
)


def chat_of(taken: str, own: Mapping[str, Schema] | None = None, messages: Mapping[str, Schema] = MESSAGES) -> Schema:
    """A chat request with the fields of OpenAI's that are named in `taken`, and `own` ones."""
    optional = {name: CHAT_OPTIONAL[name] for name in taken.split()}
    return record({"model": STRING, "messages": listed(tagged("role", messages), 1)}, {**optional, **(own or {})})


def without_fields(message: Schema, *names: str) -> Schema:
    return {**message, "properties": {name: one for name, one in message["properties"].items() if name not in names}}


def with_fields(message: Schema, fields: Mapping[str, Schema]) -> Schema:
    return {**message, "properties": {**message["properties"], **fields}}


CALL = record({"id": STRING, "function": FUNCTION_CALL}, {"type": enum("function"), "index": INTEGER})

COMMON = "max_tokens n stop stream temperature tools tool_choice top_p frequency_penalty presence_penalty seed"

REASONING = {"reasoning_content": nullable(STRING)}

EMBEDDINGS = record(
    {"model": STRING, "input": {"type": ["string", "array"], "minItems": 1}},
    {"dimensions": COUNT, "encoding_format": enum("float", "base64"), "user": STRING},
)

_SAMPLING: dict[str, Schema] = {"top_k": INTEGER, "min_p": NUMBER, "repetition_penalty": NUMBER, "echo": BOOLEAN}

COMPLETIONS_MORE: Schema = {
    **COMPLETIONS,
    "properties": {**COMPLETIONS["properties"], **_SAMPLING, "safety_model": STRING, "raw_output": BOOLEAN},
}
