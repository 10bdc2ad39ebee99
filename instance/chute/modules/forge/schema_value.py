"""A value that fits a JSON Schema, made from it, the same for the same seed."""

from __future__ import annotations

from math import ceil, floor
from random import Random
from typing import Any

from instance.chute.modules.validate.json_schema import BadSchema, CompiledSchema

DEPTH_MAX = 12
TRIES = 8
WORDS = [
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "haven",
    "iris",
    "jade",
    "kelp",
    "lotus",
    "maple",
    "north",
    "olive",
    "pearl",
    "quartz",
    "river",
]
FORMATS = {
    "date-time": "2026-01-15T09:30:00Z",
    "date": "2026-01-15",
    "time": "09:30:00Z",
    "email": "mock@example.com",
    "uri": "https://example.com/mock",
    "uuid": "3f2b8c1e-5a4d-4e6f-9b7a-1c2d3e4f5a6b",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "hostname": "mock.example.com",
}


def value_for(schema: Any, seed: str) -> Any:
    """A value that the schema accepts. Raises `BadSchema` for one that is none, or for which none was found."""
    compiled = CompiledSchema(schema)
    for attempt in range(TRIES):
        value = _Maker(schema, Random(f"{seed}:{attempt}")).make(schema, 0)
        if compiled.fits(value):
            return value
    raise BadSchema("no value that fits the schema could be made; patterns and conditions are not understood")


class _Maker:
    def __init__(self, root: Any, random: Random) -> None:
        self._root = root
        self._random = random

    def make(self, schema: Any, depth: int) -> Any:
        if not isinstance(schema, dict):
            return None
        if depth > DEPTH_MAX:
            return _shallow(schema)
        if "$ref" in schema:
            return self.make(self._referred(schema["$ref"]), depth + 1)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self._random.choice(schema["enum"])
        for name in ("anyOf", "oneOf"):
            if schema.get(name):
                rest = {key: value for key, value in schema.items() if key != name}
                options = schema[name]
                option = options[0] if depth > DEPTH_MAX // 2 else self._random.choice(options)
                return self.make(_merged(rest, self._resolved(option)), depth + 1)
        if schema.get("allOf"):
            merged = {key: value for key, value in schema.items() if key != "allOf"}
            for part in schema["allOf"]:
                merged = _merged(merged, self._resolved(part))
            return self.make(merged, depth + 1)
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = next((one for one in kind if one != "null"), "null")
        if kind is None:
            kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
        made = {"object": self._object, "array": self._array, "string": self._string}.get(kind)
        if made is not None:
            return made(schema, depth)
        if kind in ("integer", "number"):
            return self._number(schema, whole=kind == "integer")
        return self._random.random() < 0.5 if kind == "boolean" else None

    def _resolved(self, schema: Any) -> Any:
        return self._referred(schema["$ref"]) if isinstance(schema, dict) and "$ref" in schema else schema

    def _referred(self, reference: Any) -> Any:
        found = self._root
        for part in str(reference).removeprefix("#").split("/")[1:]:
            part = part.replace("~1", "/").replace("~0", "~")
            found = found.get(part) if isinstance(found, dict) else None
        return found if found is not None else {}

    def _object(self, schema: Any, depth: int) -> Any:
        properties = schema.get("properties") or {}
        required = schema.get("required") or []
        deep = depth >= DEPTH_MAX // 2
        names = [name for name in properties if name in required or not deep]
        names += [name for name in required if name not in properties]
        return {name: self.make(properties.get(name, {"type": "string"}), depth + 1) for name in names}

    def _array(self, schema: Any, depth: int) -> Any:
        least = schema.get("minItems", 0)
        count = max(least, min(schema.get("maxItems", max(least, 2)), 0 if depth >= DEPTH_MAX // 2 else 2))
        first = schema.get("prefixItems") or []
        items = [self.make(one, depth + 1) for one in first[:count]] if first else []
        other = schema.get("items", {"type": "string"})
        while len(items) < count:
            item = self.make(other, depth + 1)
            for _ in range(20):
                if not schema.get("uniqueItems") or item not in items:
                    break
                item = self.make(other, depth + 1)
            items.append(item)
        return items

    def _string(self, schema: Any, depth: int) -> str:
        known = FORMATS.get(schema.get("format", ""))
        if known is not None:
            return known
        text = " ".join(self._random.choice(WORDS) for _ in range(2))
        least, most = schema.get("minLength", 0), schema.get("maxLength")
        while len(text) < least:
            text += " " + self._random.choice(WORDS)
        return text if most is None else text[:most]

    def _number(self, schema: Any, *, whole: bool) -> float | int:
        low, high = schema.get("minimum"), schema.get("maximum")
        step = schema.get("multipleOf") or (1 if whole else 0)
        small = step or 0.5
        if isinstance(schema.get("exclusiveMinimum"), (int, float)):
            low = max(
                schema["exclusiveMinimum"] + small, low if low is not None else schema["exclusiveMinimum"] + small
            )
        if isinstance(schema.get("exclusiveMaximum"), (int, float)):
            high = min(
                schema["exclusiveMaximum"] - small, high if high is not None else schema["exclusiveMaximum"] - small
            )
        if low is None:
            low = high - 100 * small if high is not None else 0
        if high is None or high < low:
            high = low + 100 * small
        if not step:
            return round(self._random.uniform(low, high), 3) if high - low > 0.01 else low
        first, last = ceil(low / step), floor(high / step)
        value = self._random.randint(first, max(first, last)) * step
        return int(value) if whole else value


def _merged(one: Any, other: Any) -> Any:
    """Both schemas at once, as far as objects go."""
    if not isinstance(other, dict):
        return one
    merged = {**one, **other}
    if one.get("properties") and other.get("properties"):
        merged["properties"] = {**one["properties"], **other["properties"]}
    if one.get("required") and other.get("required"):
        merged["required"] = list(dict.fromkeys([*one["required"], *other["required"]]))
    return merged


def _shallow(schema: Any) -> Any:
    """The smallest value of a kind, where a schema refers to itself without end."""
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = "null" if "null" in kind else kind[0]
    return {"object": {}, "array": [], "string": "", "integer": 0, "number": 0, "boolean": False}.get(kind)
