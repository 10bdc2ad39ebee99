from typing import Any

import orjson
import pytest

from instance.chute.dialects.gemini.schema import NODES_MAX, SchemaTooLarge, gemini_schema


@pytest.mark.parametrize(
    ("schema", "converted"),
    [
        ({"type": ["string", "null"]}, {"type": "STRING", "nullable": True}),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, {"type": "INTEGER", "nullable": True}),
        (
            {"oneOf": [{"type": "integer"}, {"type": "string", "maxLength": 3}]},
            {"anyOf": [{"type": "INTEGER"}, {"type": "STRING", "maxLength": 3}]},
        ),
        ({"type": ["integer", "string"]}, {"anyOf": [{"type": "INTEGER"}, {"type": "STRING"}]}),
        ({"const": "a"}, {"type": "STRING", "enum": ["a"]}),
        ({"enum": ["a", None]}, {"type": "STRING", "enum": ["a"], "nullable": True}),
        ({"type": "integer", "enum": [1, 2]}, {"type": "INTEGER", "description": "one of 1, 2"}),
        ({"type": "string", "format": "email"}, {"type": "STRING"}),
        ({"type": "string", "format": "date-time"}, {"type": "STRING", "format": "date-time"}),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 5}, {"type": "NUMBER", "maximum": 5}),
        ({"type": "array"}, {"type": "ARRAY", "items": {"type": "STRING"}}),
        ({"type": "array", "items": {"type": "boolean"}}, {"type": "ARRAY", "items": {"type": "BOOLEAN"}}),
        (
            {"type": "object", "properties": {"a": {}}, "required": ["a", "b"], "additionalProperties": False},
            {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}, "required": ["a"]},
        ),
        (
            {
                "allOf": [
                    {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
                    {"properties": {"b": {"type": "integer"}}, "required": ["b"]},
                ]
            },
            {
                "type": "OBJECT",
                "properties": {"a": {"type": "STRING"}, "b": {"type": "INTEGER"}},
                "required": ["a", "b"],
            },
        ),
    ],
)
def test_what_gemini_does_not_know_is_said_otherwise_or_removed(
    schema: dict[str, Any], converted: dict[str, Any]
) -> None:
    got = gemini_schema(schema)
    if "required" in got:
        got["required"].sort()
    assert got == converted


def test_references_are_inlined() -> None:
    schema = {
        "type": "object",
        "properties": {
            "home": {"$ref": "#/$defs/Place", "description": "where"},
            "away": {"anyOf": [{"$ref": "#/$defs/Place"}, {"type": "null"}]},
        },
        "$defs": {
            "Place": {"type": "object", "properties": {"city": {"$ref": "#/$defs/City"}}},
            "City": {"type": "string"},
        },
    }
    converted = gemini_schema(schema)
    place = {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}}
    assert converted["properties"]["home"] == {**place, "description": "where"}
    assert converted["properties"]["away"] == {**place, "nullable": True}
    assert b"$" not in orjson.dumps(converted)


def test_a_schema_that_refers_to_itself_ends() -> None:
    schema = {
        "$ref": "#/$defs/Node",
        "$defs": {
            "Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}, "v": {"type": "string"}}}
        },
    }
    assert gemini_schema(schema)["properties"] == {"next": {"type": "OBJECT"}, "v": {"type": "STRING"}}


def test_a_reference_that_leads_nowhere_is_anything() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/None"}, "b": {"$ref": "https://x/y.json"}}}
    assert gemini_schema(schema)["properties"] == {"a": {"type": "STRING"}, "b": {"type": "STRING"}}


def test_a_schema_that_unfolds_without_end_is_refused() -> None:
    levels = {
        f"L{n}": {"type": "object", "properties": {f"p{i}": {"$ref": f"#/$defs/L{n + 1}"} for i in range(10)}}
        for n in range(8)
    }
    with pytest.raises(SchemaTooLarge, match=str(NODES_MAX)):
        gemini_schema({"$ref": "#/$defs/L0", "$defs": {**levels, "L8": {"type": "string"}}})
