"""Making a value fit its schema where the intention is plain: text to numbers, properties that may not be. Pure."""

from __future__ import annotations

import re
from typing import Any

_INTEGER = re.compile(r"[+-]?\d{1,18}\Z")
_NUMBER = re.compile(r"[+-]?(\d{1,15}(\.\d{1,15})?|\.\d{1,15})([eE][+-]?\d{1,2})?\Z")
DEPTH_MAX = 64


def fitted(value: Any, schema: Any, *, coerce: bool, strip_extra: bool) -> Any:
    """The value with text turned into what its schema asks for (`coerce`) and without properties that it forbids
    (`strip_extra`); the same object when nothing changed. Only `properties`, `items` and references into the schema are
    followed."""
    return _fitted(value, schema, schema, coerce, strip_extra, 0)


def _fitted(value: Any, schema: Any, root: Any, coerce: bool, strip_extra: bool, depth: int) -> Any:
    schema = _resolved(schema, root)
    if depth > DEPTH_MAX or not isinstance(schema, dict):
        return value
    if isinstance(value, dict):
        return _object(value, schema, root, coerce, strip_extra, depth)
    if isinstance(value, list):
        items = schema.get("items")
        made = [_fitted(item, items, root, coerce, strip_extra, depth + 1) for item in value]
        return made if any(new is not old for new, old in zip(made, value, strict=True)) else value
    if coerce and isinstance(value, str):
        return _coerced(value, schema)
    return value


def _object(
    value: dict[str, Any], schema: dict[str, Any], root: Any, coerce: bool, strip_extra: bool, depth: int
) -> Any:
    properties = schema.get("properties")
    known = properties if isinstance(properties, dict) else {}
    closed = strip_extra and schema.get("additionalProperties") is False and "patternProperties" not in schema
    made = {
        name: _fitted(each, known.get(name), root, coerce, strip_extra, depth + 1)
        for name, each in value.items()
        if name in known or not closed
    }
    same = len(made) == len(value) and all(made[name] is value[name] for name in made)
    return value if same else made


def _resolved(schema: Any, root: Any) -> Any:
    """The schema that a reference into the same document names."""
    for _ in range(8):
        if not isinstance(schema, dict) or not isinstance(schema.get("$ref"), str):
            return schema
        if not schema["$ref"].startswith("#"):
            return None
        found = root
        for part in schema["$ref"][1:].split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            found = found.get(key) if isinstance(found, dict) else None
        schema = found
    return None


def _coerced(text: str, schema: dict[str, Any]) -> Any:
    wanted = schema.get("type")
    types = wanted if isinstance(wanted, list) else [wanted]
    if "string" in types:
        return text
    bare = text.strip()
    if "integer" in types and _INTEGER.match(bare):
        return int(bare)
    if "number" in types and _NUMBER.match(bare):
        return float(bare) if not _INTEGER.match(bare) else int(bare)
    if "boolean" in types and bare.lower() in ("true", "false"):
        return bare.lower() == "true"
    if "null" in types and bare.lower() in ("null", "none", ""):
        return None
    return text


def example(schema: Any) -> Any:
    """A small value of the schema's shape, to show what is meant; not sure to fit in every detail."""
    return _example(schema, schema, 0)


def _example(schema: Any, root: Any, depth: int) -> Any:
    schema = _resolved(schema, root)
    if not isinstance(schema, dict) or depth > 6:
        return None
    for name in ("const", "default"):
        if name in schema:
            return schema[name]
    for name in ("examples", "enum"):
        if isinstance(schema.get(name), list) and schema[name]:
            return schema[name][0]
    for name in ("anyOf", "oneOf", "allOf"):
        if isinstance(schema.get(name), list) and schema[name]:
            return _example(schema[name][0], root, depth + 1)
    wanted = schema.get("type")
    kind = wanted[0] if isinstance(wanted, list) and wanted else wanted
    if kind == "object" or "properties" in schema:
        properties = schema.get("properties")
        return {
            name: _example(each, root, depth + 1) for name, each in (properties or {}).items() if isinstance(name, str)
        }
    if kind == "array" or "items" in schema:
        return [_example(schema.get("items"), root, depth + 1)] if schema.get("items") else []
    return {
        "string": "…",
        "integer": schema.get("minimum", 0),
        "number": schema.get("minimum", 0.5),
        "boolean": True,
    }.get(str(kind))
