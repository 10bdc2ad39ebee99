"""Names are looked for at capitals alone: what is found is what each expression finds in the whole text."""

import re
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instance.chute.modules.safety import person_names
from instance.chute.modules.safety.person_names import find_names

_NAME = f"({person_names._NAME})"
_ANNOUNCED = [
    re.compile(expression.pattern.removesuffix(r"\Z") + _NAME)
    for expression in (person_names._INTRODUCES, person_names._RELATES)
]
_GREETED = re.compile(r"(?m)(?:^|[\n.!?\"]\s*)" + person_names._GREETED.pattern)
_WORDS = (
    "My full name is|his name is|Name:|named|Called|called|Signed,|signed by|Sincerely,|Regards|Cheers,|Ich heiße|ich heisse|"
    "Me llamo|je m'appelle|mi chiamo|Patient:|employee|Attention:|c/o|Assigned to:|owner:|Witness:,|I met|i saw|I spoke to|said|"
    "said,|asked|replied|interview|interviewed with|written by|talked to|ask for|my brother|Her girlfriend|our neighbor|"
    "Their lawyer|Grace Hopper|Ada Lovelace|Bob|Dr. Grace Hopper|Prof Ada|Mr. Smith|Mrs|Ms.|O'Brien|O’Neil|McDonald|D'Angelo|"
    "Jean-Luc Picard|van der|de|Li Wei|Kim Jong|New York|Visual Studio|Lake Victoria|R.|José García|Žofia Nováková|Åsa|Sir|FooBar|"
    "Foo_1|X|The|Dear Bob|Hi|Hello Ada|Chère Marie|Estimada Ana|Ana's|was born|lives|wrote|iPhone|will call|the|cat|.|,|!|?|:|\"|'|-|("
).split("|")
_GAPS = [" ", " ", " ", "", "\n", "  ", "\u00a0", " ,", "\n\n\t"]


def _in_the_whole_text(text: str) -> list[person_names.Found]:
    """What every expression finds in all of the text."""
    found = [each for match in person_names._RUN.finditer(text) for each in person_names._of_run(text, match)]
    announced = chain.from_iterable(
        expression.finditer(text) for expression in (person_names._TITLED, *_ANNOUNCED, _GREETED, person_names._ACTS)
    )
    for match in announced:
        found += person_names._without_others(text, match.start(1), match.end(1))
    return found


@given(st.lists(st.tuples(st.sampled_from(_WORDS), st.sampled_from(_GAPS)), max_size=14))
@settings(max_examples=1500, deadline=None)
def test_what_is_found_is_what_each_expression_finds_in_the_whole_text(pieces):
    text = "".join(chain.from_iterable(pieces))

    assert sorted(find_names(text)) == sorted(_in_the_whole_text(text))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("interview ,\nTom", "Tom"),
        ("My name is\n\n  \tZorblax Quux.", "Zorblax Quux"),
        ("Ich heiße Jörg", "Jörg"),
        ("She talked to O’Neil.", "O’Neil"),
        ('"Hi Xandra, how are you?"', "Xandra"),
        ("Thanks.  \nDear Bo Li,\n", "Bo Li"),
        ("we saw Herrn Dr. Quandt there", "Quandt"),
        ("Zed Quux said so", "Zed Quux"),
        ("c/o Bertram", "Bertram"),
    ],
)
def test_a_name_is_known_by_the_words_beside_it(text, name):
    assert name in [text[each.start : each.end] for each in find_names(text)]


@pytest.mark.parametrize("text", ["called it", "the iPhone said", "FooBar said", 'said "No" and left', "Dear sir, A."])
def test_no_name_is_seen_where_none_begins(text):
    assert list(find_names(text)) == []


def test_a_name_that_ends_one_announcement_does_not_begin_another():
    text = "called Named Bob"

    assert [text[each.start : each.end] for each in find_names(text)] == ["Named Bob"]
