"""The inputs that a model publishes: which there are, of which type, and between which bounds."""

from __future__ import annotations

from typing import Any

from instance.chute.answer import JSON


class InputSchema:
    """A model's inputs by name. `known` is false when nothing was published: then only `prompt` may be sent."""

    __slots__ = ("_properties", "known")

    def __init__(self, openapi: Any) -> None:
        schemas: Any = (
            ((openapi or {}).get("components") or {}).get("schemas") or {} if isinstance(openapi, dict) else {}
        )
        inputs = schemas.get("Input") or {}
        properties = inputs.get("properties") if isinstance(inputs, dict) else None
        self.known = isinstance(properties, dict) and bool(properties)
        self._properties: dict[str, JSON] = (
            {name: _resolved(entry, schemas) for name, entry in properties.items()}
            if isinstance(properties, dict) and properties
            else {"prompt": {"type": "string"}}
        )

    def __contains__(self, name: object) -> bool:
        return name in self._properties

    def first(self, *names: str) -> str:
        """The first of the names that is an input; empty when none is."""
        return next((name for name in names if name in self._properties), "")

    def is_list(self, name: str) -> bool:
        return bool(self._properties[name].get("type") == "array")

    def choices(self, name: str) -> list[Any]:
        """The values that an input is limited to; empty when it is not."""
        choices = self._properties[name].get("enum")
        return choices if isinstance(choices, list) else []

    def fitted(self, name: str, value: Any) -> Any:
        """The value in the input's type and between its bounds."""
        entry = self._properties[name]
        kind = entry.get("type")
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            low, high = entry.get("minimum"), entry.get("maximum")
            if isinstance(low, (int, float)):
                value = max(low, value)
            if isinstance(high, (int, float)):
                value = min(high, value)
            return int(value) if kind == "integer" else value
        if isinstance(value, list) and kind == "string":
            return ",".join(map(str, value))
        if kind == "array" and not isinstance(value, list):
            return [value]
        return value


def _resolved(entry: Any, schemas: JSON) -> JSON:
    """A property with what it refers to: enumerations stand apart, under `allOf`."""
    if not isinstance(entry, dict):
        return {}
    found: JSON = {}
    for part in (*(entry.get("allOf") or ()), entry):
        ref = part.get("$ref") if isinstance(part, dict) else None
        if isinstance(ref, str):
            target = schemas.get(ref.rpartition("/")[2])
            if isinstance(target, dict):
                found.update(target)
    found.update({name: value for name, value in entry.items() if name not in ("allOf", "$ref")})
    return found
