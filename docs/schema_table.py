"""A JSON schema of settings as a Markdown table: name, type with bounds, default, meaning."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

UNBOUNDED = 1_000_000_000_000_000


def table(schema: Schema, *, leave_out: Collection[str] = (), environment: str = "", within: str = "") -> str:
    """The properties as rows; with `environment`, a prefix, a column names the variable that sets each. `within` begins the
    anchors of the nested objects' headings, where several schemas share a page."""
    rows = [
        [
            f"`{name}`",
            *([f"`{environment}{name.upper()}`"] if environment else []),
            kind(row, within),
            _default(row, schema, name),
            cell(row.get("description", "")),
        ]
        for name, row in schema.get("properties", {}).items()
        if name not in leave_out
    ]
    head = ["setting", *(["environment"] if environment else []), "type", "default", "meaning"]
    return markdown(head, rows) if rows else "No settings of its own.\n"


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines) + "\n"


def cell(text: str) -> str:
    """Text on one line that does not end the cell."""
    return " ".join(text.split()).replace("|", "\\|")


def objects(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """The nested objects that settings are made of: name and schema."""
    for name, row in schema.get("$defs", {}).items():
        if row.get("type") == "object" and row.get("properties"):
            yield name, row


def kind(row: Schema, within: str = "") -> str:
    """What a value may be, with its bounds; a nested object as a link to its heading, whose anchor begins with `within`."""
    return cell(_described(row, within))


def _described(row: Schema, within: str) -> str:
    if "$ref" in row:
        name = str(row["$ref"]).rpartition("/")[2]
        return f"[{name}](#{within}{name.lower()})"
    if "allOf" in row:
        return _described(row["allOf"][0], within)
    if "enum" in row:
        return ", ".join(f"`{value or chr(34) * 2}`" for value in row["enum"])
    if "const" in row:
        return f"`{row['const']}`"
    if "anyOf" in row:
        return _either(row["anyOf"], within)
    plain = str(row.get("type", "any"))
    if plain == "array":
        return "list of " + _described(row["items"], within) if row.get("items") else "list"
    if plain == "object":
        values = row.get("additionalProperties")
        return "table of " + _described(values, within) if isinstance(values, Mapping) and values else "table"
    return {"string": "text", "boolean": "true, false"}.get(plain, plain) + _bounds(row)


def _either(choices: list[Schema], within: str) -> str:
    kinds = [choice.get("type") for choice in choices]
    if "number" in kinds:  # exact numbers may also be written as text; that is no other kind of value
        choices = [choice for choice in choices if choice.get("type") != "string" or "enum" in choice]
    described = [_described(choice, within) for choice in choices if choice.get("type") != "null"]
    return " or ".join([*described, "unset"] if "null" in kinds else described)


def _bounds(row: Schema) -> str:
    low, high = row.get("minimum", row.get("exclusiveMinimum")), row.get("maximum")
    if row.get("type") == "string":
        return f", at most {row['maxLength']} characters" if "maxLength" in row else ""
    above = "above " if "exclusiveMinimum" in row else ""
    if low is not None and high is not None and high < UNBOUNDED:
        return f", {above}{_number(low)} to {_number(high)}"
    return f", {above or 'from '}{_number(low)}" if low is not None else ""


def _number(value: float) -> str:
    return f"{int(value):,}" if float(value).is_integer() else str(value)


def _default(row: Schema, schema: Schema, name: str) -> str:
    if name in schema.get("required", ()):
        return "needed"
    value = row.get("default")
    if value is None:
        return "unset"
    if value in ("", ".", [], {}):
        return "empty"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"`{cell(text)}`"
