import re
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instance.chute.modules.core import maskmode
from instance.chute.modules.safety import (
    checkable_facts,
    grounding,
    person_names,
    personal_data,
    stated_sums,
    street_addresses,
)
from instance.chute.quick_look import QuickLook

EXPRESSIONS = [
    expression
    for module in (maskmode, checkable_facts, grounding, personal_data, person_names, stated_sums, street_addresses)
    for expression in vars(module).values()
    if isinstance(expression, re.Pattern)
]
FOUND = {
    expression: st.tuples(st.text(max_size=8), st.from_regex(expression), st.text(max_size=8))
    for expression in EXPRESSIONS
}
"""Texts in which an expression occurs; they and the looks are made once for each."""
look_for = cache(QuickLook)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_what_an_expression_finds_was_seen_by_the_quick_look(data):
    expression = data.draw(st.sampled_from(EXPRESSIONS))
    text = "".join(data.draw(FOUND[expression]))

    if expression.search(text):
        assert look_for(expression)(text) == {0}


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (r"(?i)istanbul", "İSTANBUL"),
        (r"(?i)[h-j]x", "ıx"),
        (r"\d+", "٣"),
        (r"\w{3}", "ñäß"),
        (r"a\sb", "a\u00a0b"),
        (r"x[^\d]y", "x٣y" if re.search(r"x[^\d]y", "x٣y") else "x.y"),
        (r"(a|b)\1", "bb"),
        (r"(?<=x)y\b", "xy"),
        (r"a{12}", "a" * 12),
        (r"\bnot\b", "not"),
        (r"\b(?:k\w*|[x-z_])\b", "é-kä"),
        (r"\bé\b", "a é."),
        (r"\b(?:a|)\b", "a"),
        (r"\b-\b", "a-b"),
    ],
)
def test_letters_and_digits_of_any_script_are_seen(expression, text):
    assert re.search(expression, text)
    assert QuickLook(re.compile(expression))(text) == {0}


def test_a_word_is_not_seen_inside_of_another():
    look = QuickLook(re.compile(r"\b(?:no|kein\w*|[x-z]{2}\d?)\b", re.IGNORECASE), re.compile(r"\bpas\b"))

    assert look("now we know the past, axy") == frozenset()
    assert look("No.") == look("keiné") == look("a xy") == {0}


def test_only_what_could_be_there_is_named_and_a_tuple_has_one_index():
    look = QuickLook(re.compile(r"\bcat\b"), (re.compile("dog"), re.compile("wolf")), re.compile(r"\d"))

    assert look("a cat and a wolf") == {0, 1}
    assert look("nothing") == frozenset()
    assert look("\ud800") == {0, 1, 2}
