"""Which JSON Schemas the Messages API takes for its own structured outputs and strict tools."""

from __future__ import annotations

from typing import Any

from instance.chute.answer import JSON

REFUSED = frozenset(
    (
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "maxItems",
        "uniqueItems",
        "minProperties",
        "maxProperties",
        "patternProperties",
        "oneOf",
        "not",
        "if",
        "dependentSchemas",
        "dependentRequired",
    )
)
"""Keywords that its grammar does not know; a schema with one of them is refused."""


def is_native_schema(schema: Any) -> bool:
    """Whether the schema can be enforced by the API itself: every object closed, no keyword that it refuses."""
    if isinstance(schema, bool) or not isinstance(schema, dict):
        return False
    if not REFUSED.isdisjoint(schema) or schema.get("minItems", 0) not in (0, 1):
        return False
    kind = schema.get("type")
    closed = schema.get("additionalProperties") is False
    if (kind == "object" or (isinstance(kind, list) and "object" in kind) or "properties" in schema) and not closed:
        return False
    return all(is_native_schema(inner) for inner in _inner(schema))


def _inner(schema: JSON) -> list[Any]:
    found: list[Any] = []
    for name in ("properties", "$defs", "definitions"):
        table = schema.get(name)
        if isinstance(table, dict):
            found += table.values()
    for name in ("anyOf", "allOf", "prefixItems"):
        rows = schema.get(name)
        if isinstance(rows, list):
            found += rows
    if isinstance(schema.get("items"), dict):
        found.append(schema["items"])
    return found


def object_schema(schema: Any) -> JSON:
    """The schema of a tool's input: an object even when nothing was said."""
    if not isinstance(schema, dict) or not schema:
        return {"type": "object", "properties": {}}
    return schema if schema.get("type") == "object" else {"type": "object", **schema}
