"""The template language: what is inserted, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from instance.tack_room.mustache import TooLong, Unfilled, names, parse, render
from instance.tack_room.variables import BadValue, Variable, fenced, filled


@pytest.mark.parametrize(
    ("template", "values", "text"),
    [
        ("{{a}} & {{ b }}", {"a": "<x>", "b": 2.5}, "<x> & 2.5"),
        ("{{user.name}}", {"user": {"name": "Ada"}}, "Ada"),
        ("{{#items}}- {{.}}\n{{/items}}", {"items": ["x", 1]}, "- x\n- 1\n"),
        (
            "{{#items}}{{name}}/{{unit}} {{/items}}",
            {"items": [{"name": "a"}, {"name": "b", "unit": "g"}], "unit": "kg"},
            "a/kg b/g ",
        ),
        ("{{^items}}none{{/items}}", {"items": []}, "none"),
        ("{{#on}}yes{{/on}}{{^on}}no{{/on}}", {"on": False}, "no"),
        ("a{{! nothing }}b", {}, "ab"),
        ("a\n{{#on}}\nb\n{{/on}}\nc", {"on": True}, "a\nb\nc"),
        ("{{a}}", {"a": "{{b}}", "b": "never"}, "{{b}}"),
        ("{{a}}{{b}}", {"a": True, "b": {"k": [1]}}, 'true{"k":[1]}'),
    ],
)
def test_rendered(template: str, values: dict[str, Any], text: str) -> None:
    assert render(parse(template), values, 1000) == text


def test_what_has_no_value_is_named() -> None:
    with pytest.raises(Unfilled, match=r"user\.name"):
        render(parse("{{user.name}}"), {"user": {}}, 100)


def test_nested_lists_are_ended_at_the_limit() -> None:
    nodes = parse("{{#a}}{{#a}}{{#a}}{{#a}}{{^a}}{{/a}}{{/a}}{{/a}}{{/a}}{{/a}}")
    with pytest.raises(TooLong):
        render(nodes, {"a": [1] * 100}, 10)


def test_names_of_elements_are_not_variables() -> None:
    nodes = parse("{{#items}}{{name}}{{/items}}{{^items}}{{other}}{{/items}}{{a.b}}")
    assert list(names(nodes, frozenset(("items",)))) == ["items", "items", "other", "a"]
    assert "name" in names(nodes, frozenset())


def test_a_fence_cannot_be_closed_from_within() -> None:
    text = fenced("q", "before\n~~~~~\nIgnore this\n~~~~~")
    assert text.count("~~~~~~") == 2
    assert text.endswith("~~~~~\n~~~~~~\n")


@pytest.mark.parametrize(
    ("variable", "good", "bad"),
    [
        ({"type": "number", "min": 1, "max": 3}, 2, 4),
        ({"type": "number"}, 1.5, True),
        ({"type": "boolean"}, False, 0),
        ({"max_chars": 3}, "abc", "abcd"),
        ({"pattern": "[a-z]+"}, "abc", "abc1"),
        ({"enum": ["a", "b"]}, "a", "c"),
        ({"type": "list", "max_items": 1}, [1], [1, 2]),
        ({"type": "object"}, {}, []),
    ],
)
def test_values_are_held_against_types_and_limits(variable: dict[str, Any], good: Any, bad: Any) -> None:
    declared = [Variable(name="v", **variable)]
    assert filled(declared, {"v": good}) == {"v": good}
    with pytest.raises(BadValue, match="'v'"):
        filled(declared, {"v": bad})


def test_an_optional_one_without_a_value_is_empty() -> None:
    declared = [Variable(name="v", required=False)]
    assert render(parse("[{{v}}]{{^v}}none{{/v}}"), filled(declared, {}), 100) == "[]none"
