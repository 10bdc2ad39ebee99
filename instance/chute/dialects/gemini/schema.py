"""JSON Schema in the part of OpenAPI's that Gemini takes: references inlined, what it does not know removed."""

from __future__ import annotations

from typing import Any

from instance.chute.answer import JSON

DEPTH_MAX = 24
"""A schema that refers to itself is cut off here: what lies deeper may be anything."""
NODES_MAX = 5000
KEPT = (
    "title",
    "description",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "minLength",
    "maxLength",
    "pattern",
    "minimum",
    "maximum",
    "default",
    "example",
    "nullable",
    "propertyOrdering",
)
FORMATS = {
    "STRING": frozenset(("enum", "date-time")),
    "NUMBER": frozenset(("float", "double")),
    "INTEGER": frozenset(("int32", "int64")),
}
TYPES = frozenset(("STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT"))


class SchemaTooLarge(ValueError):
    """The schema, with its references inlined, has more than `NODES_MAX` nodes."""


def gemini_schema(schema: JSON) -> JSON:
    """The schema as `responseSchema` or a function's `parameters` takes it. Raises `SchemaTooLarge`."""
    return _Converter(schema).convert(schema, 0, ())


class _Converter:
    def __init__(self, root: JSON) -> None:
        self._root = root
        self._nodes = 0

    def convert(self, node: Any, depth: int, open_refs: tuple[str, ...]) -> JSON:
        self._nodes += 1
        if self._nodes > NODES_MAX:
            raise SchemaTooLarge(f"the schema has more than {NODES_MAX} parts")
        if not isinstance(node, dict) or depth > DEPTH_MAX:
            return {}
        node, open_refs, cut = self._resolved(node, open_refs)
        if cut:
            return {"type": "OBJECT"}
        node = self._merged(node, depth, open_refs)
        out: JSON = {name: node[name] for name in KEPT if name in node}
        kind = self._type(node, out, depth, open_refs)
        if kind:
            out["type"] = kind
        self._enum(node, out)
        if node.get("format") in FORMATS.get(out.get("type", ""), ()):
            out["format"] = node["format"]
        self._alternatives(node, out, depth, open_refs)
        self._children(node, out, depth, open_refs)
        return out

    def _resolved(self, node: JSON, open_refs: tuple[str, ...]) -> tuple[JSON, tuple[str, ...], bool]:
        """The node with its `$ref` replaced by what it refers to; cut where a reference leads back into itself."""
        for _ in range(DEPTH_MAX):
            ref = node.get("$ref")
            if not isinstance(ref, str):
                return node, open_refs, False
            if ref in open_refs:
                return {}, open_refs, True
            open_refs = (*open_refs, ref)
            beside = {name: value for name, value in node.items() if name != "$ref"}
            node = {**self._found(ref), **beside}
        return {}, open_refs, True

    def _found(self, ref: str) -> JSON:
        place: Any = self._root
        if not ref.startswith("#"):
            return {}
        for step in ref[1:].split("/"):
            if not step:
                continue
            step = step.replace("~1", "/").replace("~0", "~")
            if isinstance(place, list):
                place = place[int(step)] if step.isdigit() and int(step) < len(place) else None
            else:
                place = place.get(step) if isinstance(place, dict) else None
        return place if isinstance(place, dict) else {}

    def _merged(self, node: JSON, depth: int, open_refs: tuple[str, ...]) -> JSON:
        """`allOf` joined into one: properties and required of all, else the first that says something."""
        parts = node.get("allOf")
        if not isinstance(parts, list):
            return node
        joined: JSON = {name: value for name, value in node.items() if name != "allOf"}
        for part in parts[:DEPTH_MAX]:
            if not isinstance(part, dict):
                continue
            resolved, refs, cut = self._resolved(part, open_refs)
            if cut or depth >= DEPTH_MAX:
                continue
            resolved = self._merged(resolved, depth + 1, refs)
            for name, value in resolved.items():
                if name == "properties" and isinstance(value, dict):
                    joined[name] = {**value, **(joined.get(name) or {})}
                elif name == "required" and isinstance(value, list):
                    joined[name] = list(dict.fromkeys([*(joined.get(name) or []), *value]))
                else:
                    joined.setdefault(name, value)
        return joined

    def _type(self, node: JSON, out: JSON, depth: int, open_refs: tuple[str, ...]) -> str:
        kind = node.get("type")
        if isinstance(kind, list):
            names = [name for name in kind if isinstance(name, str) and name != "null"]
            if len(names) < len(kind):
                out["nullable"] = True
            if len(names) > 1:
                own = {name: value for name, value in node.items() if name not in ("type", "anyOf", "oneOf", "$defs")}
                out["anyOf"] = [self.convert({**own, "type": name}, depth + 1, open_refs) for name in names]
                for name in [name for name in out if name not in ("anyOf", "nullable", "title", "description")]:
                    del out[name]
                return ""
            kind = names[0] if names else None
        if isinstance(kind, str) and kind.upper() in TYPES:
            return kind.upper()
        if "properties" in node or "additionalProperties" in node:
            return "OBJECT"
        if "items" in node or "prefixItems" in node:
            return "ARRAY"
        return ""

    def _enum(self, node: JSON, out: JSON) -> None:
        values = node.get("enum")
        if "const" in node:
            values = [node["const"]]
        if not isinstance(values, list) or "anyOf" in out:
            return
        if None in values:
            out["nullable"] = True
        texts = [value for value in values if isinstance(value, str)]
        if texts:
            out.setdefault("type", "STRING")
            if out["type"] == "STRING":
                out["enum"] = texts
                return
        rest = [value for value in values if value is not None]
        if rest:  # only texts can be enumerated there: the others are told in words
            out.setdefault("type", _type_of(rest[0]))
            hint = "one of " + ", ".join(map(str, rest))
            out["description"] = f"{out['description']} ({hint})" if out.get("description") else hint

    def _alternatives(self, node: JSON, out: JSON, depth: int, open_refs: tuple[str, ...]) -> None:
        choices = node.get("anyOf") or node.get("oneOf")
        if not isinstance(choices, list) or not choices:
            return
        kept = [choice for choice in choices if not _is_null(choice)]
        if len(kept) < len(choices):
            out["nullable"] = True
        converted = [self.convert(choice, depth + 1, open_refs) for choice in kept]
        converted = [choice for choice in converted if choice]
        if len(converted) == 1:
            only = converted[0]
            out.update({name: value for name, value in only.items() if name not in out or name == "type"})
        elif converted:
            out["anyOf"] = converted
            out.pop("type", None)

    def _children(self, node: JSON, out: JSON, depth: int, open_refs: tuple[str, ...]) -> None:
        if "anyOf" in out:
            return
        properties = node.get("properties")
        if isinstance(properties, dict) and properties:
            out["type"] = "OBJECT"
            out["properties"] = {
                name: self.convert(child, depth + 1, open_refs) or {"type": "STRING"}
                for name, child in properties.items()
            }
            required = node.get("required")
            if isinstance(required, list):
                named = [name for name in required if name in properties]
                if named:
                    out["required"] = named
        items = node.get("items")
        if isinstance(node.get("prefixItems"), list) and not isinstance(items, dict):
            items = {"anyOf": node["prefixItems"]}
        if out.get("type") == "ARRAY":
            out["items"] = self.convert(items, depth + 1, open_refs) if isinstance(items, dict) else {}
            if not out["items"]:
                out["items"] = {"type": "STRING"}


def _is_null(choice: Any) -> bool:
    return isinstance(choice, dict) and (
        choice.get("type") == "null" or ("const" in choice and choice["const"] is None)
    )


def _type_of(value: Any) -> str:
    if isinstance(value, bool):
        return "BOOLEAN"
    if isinstance(value, int):
        return "INTEGER"
    return "NUMBER" if isinstance(value, float) else "STRING"
