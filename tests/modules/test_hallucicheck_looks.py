"""hallucicheck's quick looks: what they let pass is what a whole check finds nothing in."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instance.chute.modules.safety import grounding
from instance.chute.modules.safety import told as telling
from instance.chute.modules.safety.age_rules import NOTES
from instance.chute.modules.safety.checkable_facts import FACT, MORE, doubts, fact_look
from instance.chute.modules.safety.grounding import _WORD, given_texts, references, short_texts
from instance.chute.modules.safety.told import Told
from instance.chute.system_message import with_system_text

WORDS = (
    "The the museum never not isn't pas kein keine No now north nothing costs free half six sixteen often one 9 1,200 12.5 7% per cent cost "
    "percent days before afterwards won most almost grew Ärzte lost . , : ; ? ! ( ) [ ] [3] [12]: \n \n\n ` `x` \" “ ” ''' doi doing DOI: isbn "
    "ISBN 978-3-16-148410-1 arXiv:2313.12345 10.1/x https://a.notatld www.x.zz a@b.zz a@@b 3 + 4 = 8 is equals sum of and double twice a third "
    "average of 3, 5 and 9 is 6 10% off $90 makes $80 20 is 3% of from 4 to 5 an increase 5! = 100 sqrt(16) √9 square root of tax tip "
    'Context Documents: text: <doc> <source based on given the following context says """ use only this information report of may: sſ ıs'
).split(" ")
TEXTS = st.lists(st.sampled_from(WORDS), max_size=14).flatmap(
    lambda words: st.sampled_from([" ", "", "-"]).map(lambda gap: gap.join(words))
)


@given(TEXTS)
@settings(max_examples=1500, deadline=None)
def test_a_look_loses_nothing_of_what_a_text_tells(text: str) -> None:
    told = Told(text)

    assert told.numbers == telling.numbers(text)
    assert told.counted == telling.counted(text)
    assert told.shares == telling.shares(text)
    assert told.has_numbers == bool(told.numbers or told.counted or told.shares)
    words = set(_WORD.findall(text.casefold()))
    assert all(told.says(word) for word in words)
    assert not any(told.says(word) for word in re.findall(r"[^\W\d_]\w*", text.casefold()) if word not in words)


@given(TEXTS)
@settings(max_examples=500, deadline=None)
def test_where_one_look_sees_no_fact_nothing_is_doubted(text: str) -> None:
    for check in ("url", "email", "citation", "arithmetic"):
        asked = frozenset((check,))
        for grounded in (False, True):
            seen = fact_look(asked)(text)
            if not seen or (not grounded and FACT not in seen):
                assert list(doubts(text, "", asked, grounded=grounded)) == []


@given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant", "tool"]), TEXTS), max_size=3))
@settings(max_examples=1000, deadline=None)
def test_where_one_look_sees_no_mark_there_is_nothing_to_rest_on(said: list[tuple[str, str]]) -> None:
    messages = [{"role": role, "content": text} for role, text in said]
    first = references(given_texts({"messages": messages}))
    every = [grounding.Given(text, tool=role == "tool") for role, text in said if role != "assistant"]
    assert first == references(given_texts({"messages": messages})) == references(every)


@given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), TEXTS), max_size=3), TEXTS)
@settings(max_examples=1000, deadline=None)
def test_one_look_over_all_texts_sees_what_a_look_over_each_does(said: list[tuple[str, str]], answer: str) -> None:
    req = {"messages": [{"role": role, "content": text} for role, text in said]}
    short = short_texts(req)
    if short is None:
        return
    every = frozenset(("url", "email", "citation", "arithmetic"))
    seen = fact_look(every, grounding.MARK_BEGINS)("\n".join((*short, answer)))
    assert fact_look(every)(answer) <= seen
    assert MORE in seen or given_texts(req) == []


def test_a_note_of_ours_is_nothing_to_rest_on() -> None:
    plain = "You help in a yard. It opens at six. It closes at ten. The vet comes at noon."
    told = with_system_text([{"role": "system", "content": plain}], NOTES["teen"], before=False)

    assert references(given_texts({"messages": told})) == []
    told = with_system_text([{"role": "system", "content": plain * 6}], NOTES["teen"], before=False)
    assert references(given_texts({"messages": told})) == references(given_texts({"messages": told}))
    assert "The vet comes at noon." in " ".join(references(given_texts({"messages": told})))
    assert "between 13 and 17" not in " ".join(references(given_texts({"messages": told})))


@pytest.mark.parametrize(
    ("text", "counts"),
    [("sixteen days", {"day": {"16"}}), ("they tend to six-packs", {"pack": {"6"}}), ("5kg", {"kg": {"5"}})],
)
def test_a_word_for_a_number_is_counted_whole(text: str, counts: dict[str, set[str]]) -> None:
    assert telling.counted(text) == counts
