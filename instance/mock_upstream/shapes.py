"""Words for writing the providers' request schemas: each gives a piece of JSON Schema.

Unions are written so that a validator names the field that is wrong, not only that no variant fits: by the type of
the JSON value (`text_or_list`) or by a tag inside the object (`tagged`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]

STRING: Schema = {"type": "string"}
NONEMPTY: Schema = {"type": "string", "minLength": 1}
INTEGER: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
BOOLEAN: Schema = {"type": "boolean"}
OBJECT: Schema = {"type": "object"}
ANYTHING: Schema = {}
STRINGS: Schema = {"type": "array", "items": STRING}
COUNT: Schema = {"type": "integer", "minimum": 1}


def between(low: float, high: float, kind: str = "number") -> Schema:
    return {"type": kind, "minimum": low, "maximum": high}


def enum(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


def nullable(schema: Schema) -> Schema:
    """The same or null."""
    if not schema:
        return schema
    kinds = schema.get("type")
    if kinds is None:
        return {"anyOf": [schema, {"type": "null"}]}
    made = {**schema, "type": [*([kinds] if isinstance(kinds, str) else kinds), "null"]}
    if "enum" in schema:
        made["enum"] = [*schema["enum"], None]
    if "allOf" in schema:
        return {"if": {"type": "null"}, "else": schema}
    return made


def listed(items: Schema, at_least: int = 0, at_most: int | None = None) -> Schema:
    made: Schema = {"type": "array", "items": items}
    if at_least:
        made["minItems"] = at_least
    if at_most is not None:
        made["maxItems"] = at_most
    return made


def text_or_list(items: Schema, at_least: int = 0) -> Schema:
    """A string, or a list of `items`."""
    return {**listed(items, at_least), "type": ["string", "array"]}


def text_or(schema: Schema) -> Schema:
    """A string, or an object of this schema."""
    return {"type": ["string", "object"], "if": {"type": "object"}, "then": schema}


def mapping(values: Schema) -> Schema:
    return {"type": "object", "additionalProperties": values}


def record(
    required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None, *, closed: bool = True
) -> Schema:
    """An object; a closed one takes no other fields."""
    made: Schema = {"type": "object", "properties": {**required, **(optional or {})}}
    if required:
        made["required"] = list(required)
    if closed:
        made["additionalProperties"] = False
    return made


def tagged(tag: str, variants: Mapping[str, Schema]) -> Schema:
    """An object whose field `tag` says which of the variants it is; a variant need not name the tag itself."""
    choices = []
    for value, schema in variants.items():
        body = schema
        if schema.get("type") == "object" and "properties" in schema:
            body = {**schema, "properties": {tag: {"const": value}, **schema["properties"]}}
        choices.append({"if": {"properties": {tag: {"const": value}}, "required": [tag]}, "then": body})
    return {
        "type": "object",
        "required": [tag],
        "properties": {tag: {"enum": list(variants)}},
        "allOf": choices,
    }


def exactly_one(members: Mapping[str, Schema], beside: Mapping[str, Schema] | None = None) -> Schema:
    """An object in which exactly one of `members` is set, with any of the fields `beside` it."""
    made = record({}, {**members, **(beside or {})})
    made["oneOf"] = [{"required": [name]} for name in members]
    return made


def opened(schema: Schema) -> Schema:
    """The same, taking unknown fields everywhere: what servers do that only resemble the provider."""
    made: Schema = {}
    for name, value in schema.items():
        if name == "additionalProperties" and value is False:
            continue
        if isinstance(value, dict):
            value = opened(value)
        elif isinstance(value, list):
            value = [opened(item) if isinstance(item, dict) else item for item in value]
        made[name] = value
    return made
