"""What is read out of a generation that Groq gave up on."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from instance.chute.dialects.groq.failed_tool_call import rescued_calls
from tests.modules.openai_like import WEATHER

F: Any = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}},
}


def called(text: str, *tools: Any) -> list[tuple[str, Any]]:
    calls = rescued_calls(text, list(tools))
    return [(call["function"]["name"], orjson.loads(call["function"]["arguments"])) for call in calls]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('<function=f>{"a":1}', [("f", {"a": 1})]),
        ('<function=f>{"a":1}</function>', [("f", {"a": 1})]),
        ('<function=f{"a":1}</function>', [("f", {"a": 1})]),
        ('<function(f)>{"a":1}</function>', [("f", {"a": 1})]),
        ('<function=f>{"a":1}</function><function=f>{"a":2}</function>', [("f", {"a": 1}), ("f", {"a": 2})]),
        ("<function=f></function>", [("f", {})]),
        ("<function=f>{'a': 1,}</function>", [("f", {"a": 1})]),
        ('<tool_call>\n{"name":"f","arguments":{"a":1}}\n</tool_call>', [("f", {"a": 1})]),
        ('{"name":"f","arguments":"{\\"a\\":1}"}', [("f", {"a": 1})]),
        ('[{"name":"f","parameters":{"a":1}}]', [("f", {"a": 1})]),
        ('{"type":"function","function":{"name":"f","parameters":{"a":1}}}', [("f", {"a": 1})]),
        ("[f(a=1), f(a=2)]", [("f", {"a": 1}), ("f", {"a": 2})]),
        ("f(a=__import__('os'))", []),
        ('<function=f>{"a":"one"}</function>', []),
        ('<function=g>{"a":1}</function>', []),
        ('<function=f>{"a":1}</function><function=g>{}</function>', []),
        ("I would call f with 1.", []),
        ("", []),
    ],
)
def test_calls_are_found_in_every_way_of_writing_them(text: str, found: list[tuple[str, Any]]) -> None:
    assert called(text, F) == found


def test_ids_differ_within_an_answer_and_arguments_must_be_valid() -> None:
    calls = rescued_calls('<function=weather>{"city":"a"}<function=weather>{"city":"a"}', [WEATHER])
    assert len({call["id"] for call in calls}) == 2
    assert rescued_calls('<function=weather>{"town":"a"}', [WEATHER]) == []
    assert rescued_calls('<function=f>{"a":1}', None) == []


@given(st.text("<>{}[]()=\"',:abf1/ _function\\\n", max_size=80))
def test_no_text_breaks_the_reading(text: str) -> None:
    for name, arguments in called(text, F):
        assert name == "f" and isinstance(arguments, dict)
