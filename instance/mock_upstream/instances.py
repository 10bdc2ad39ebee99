"""A plain instance of a JSON Schema: what a model would answer to structured output, without a model."""

from __future__ import annotations

from typing import Any

DEPTH_MAX = 12


def instance_of(schema: Any, text: str = "mock", root: Any = None, depth: int = 0) -> Any:
    """A value that fits the schema; free strings are `text`. Knows what structured outputs allow, `$ref` included."""
    root = schema if root is None else root
    if not isinstance(schema, dict) or depth > DEPTH_MAX:
        return text if schema is not False else None
    if "$ref" in schema:
        return instance_of(_target(root, schema["$ref"]), text, root, depth + 1)
    for name in ("const", "default"):
        if name in schema:
            return schema[name]
    if schema.get("enum"):
        return schema["enum"][0]
    for name in ("anyOf", "oneOf"):
        if schema.get(name):
            branches = [branch for branch in schema[name] if branch != {"type": "null"}]
            return instance_of(branches[0] if branches else {"type": "null"}, text, root, depth + 1)
    if schema.get("allOf"):
        merged: dict[str, Any] = {name: value for name, value in schema.items() if name != "allOf"}
        for branch in schema["allOf"]:
            found = _target(root, branch["$ref"]) if "$ref" in branch else branch
            merged = {
                **merged,
                **found,
                "properties": {**merged.get("properties", {}), **found.get("properties", {})},
                "required": [*merged.get("required", []), *found.get("required", [])],
            }
        return instance_of(merged, text, root, depth + 1)
    return _of_type(schema, text, root, depth)


def _of_type(schema: dict[str, Any], text: str, root: Any, depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = next((name for name in kind if name != "null"), "null")
    kind = str(kind).lower()
    if kind == "object":
        properties = schema.get("properties", {})
        # what is optional is left out once it nests deep, so that a recursive schema ends
        wanted = properties if depth < 6 else {name: properties.get(name, {}) for name in schema.get("required", ())}
        return {name: instance_of(inner, text, root, depth + 1) for name, inner in wanted.items()}
    if kind == "array":
        items = schema.get("items", {})
        count = max(int(schema.get("minItems", 1)), 0) if depth < 6 else int(schema.get("minItems", 0))
        return [instance_of(items, text, root, depth + 1) for _ in range(count)]
    if kind in ("integer", "number"):
        low = schema.get("minimum", schema.get("exclusiveMinimum"))
        number = 1 if low is None else low + (1 if "exclusiveMinimum" in schema else 0)
        high = schema.get("maximum")
        number = number if high is None else min(number, high)
        return number if kind == "number" else int(number)
    if kind == "boolean":
        return True
    if kind == "null":
        return None
    low = int(schema.get("minLength", 0))
    return text[: schema.get("maxLength")].ljust(low, "x")


def _target(root: Any, reference: str) -> Any:
    node = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        if part:
            node = node.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(node, dict) else {}
    return node
