"""Names of people are told by the words around them, and wherever one is found the shared matcher's expression occurs."""

from __future__ import annotations

from itertools import chain

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from instance.chute.modules.safety.name_trigger import trigger
from instance.chute.modules.safety.person_names import find_names
from instance.chute.modules.safety.personal_data import MEMORY_MAX_BYTES

_WORDS = (
    "My full name is|his name is|Name:|**Patient:**|named|Called|called|Signed,|signed by|Sincerely,|Regards|Cheers,|Ich heiße|ich heisse|"
    "Me llamo|je m'appelle|mi chiamo|employee|Attention:|c/o|Assigned to:|owner:|approved_by:|Witness:,|I met|i saw|I spoke to|said|"
    "said,|asked|replied|interview|interviewed with|written by|talked to|ask for|my brother|Her girlfriend|our neighbor|the actor|"
    "Their lawyer|Grace Hopper|Ada Lovelace|Bob|Dr. Grace Hopper|Prof Ada|Mr. Smith|Mrs|Ms.|O'Brien|O’Neil|McDonald|D'Angelo|Okafor|"
    "Jean-Luc Picard|van der|de|Li Wei|Kim Jong|New York|Visual Studio|Lake Victoria|R.|José García|Žofia Nováková|Åsa|Sir|FooBar|"
    "Foo_1|X|The|Dear Bob|Hi|Hello Ada|Chère Marie|Estimada Ana|Ana's|was born|lives|wrote|iPhone|will call|the|cat|.|,|!|?|:|\"|'|-|(|"
    "ask|tell|whether|to|Zed Quux|Zorblax|<z.quux@firm.dev>|DUPONT|[10:42]|name,phone|1,2"
).split("|")
_GAPS = [" ", " ", " ", "", "\n", "  ", "\u00a0", " ,", ", ", "\n\n", " and "]


def _names(text: str) -> list[str]:
    return [text[each.start : each.end] for each in find_names(text)]


def _set() -> re2.Set:
    options = re2.Options()
    options.max_mem = MEMORY_MAX_BYTES
    made = re2.Set.SearchSet(options)
    made.Add(trigger())
    made.Compile()
    return made


_TRIGGER = _set()


@given(st.lists(st.tuples(st.sampled_from(_WORDS), st.sampled_from(_GAPS)), max_size=14))
@settings(max_examples=1500, deadline=None)
def test_where_a_name_is_found_the_expression_occurs(pieces: list[tuple[str, str]]) -> None:
    text = "".join(chain.from_iterable(pieces))

    if list(find_names(text)):
        assert _TRIGGER.Match(text.encode())


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("My name is\n\n\tZorblax Quux.", "Zorblax Quux"),
        ("Ich heiße Jörg", "Jörg"),
        ("She talked to O’Neil.", "O’Neil"),
        ('"Hi Xandra, how are you?"', "Xandra"),
        ("Thanks.  \nDear Bo Li,\n", "Bo Li"),
        ("we saw Herrn Dr. Quandt there", "Quandt"),
        ("Zed Quux said so", "Zed Quux"),
        ("c/o Bertram", "Bertram"),
        ("her roommate Zorblax moved out", "Zorblax"),
        ("**Patient:** Zorblax Quux", "Zorblax Quux"),
        ("Nom : DUPONT Jean", "DUPONT Jean"),
        ("Name: Hopper, Grace", "Hopper, Grace"),
        ("Kind regards,\n\nZorblax", "Zorblax"),
        ("the defendant, Zed Quux, left", "Zed Quux"),
        ("loop in Zed Quux (z.quux@firm.dev)", "Zed Quux"),
        ('{"assignee": "Zed Quux"}', "Zed Quux"),
        ('{"name": "Zed Quux", "email": null}', "Zed Quux"),
        ("name,department\nZed Quux,Sales", "Zed Quux"),
        ("| Employee | City |\n|---|---|\n| Zed Quux | Oslo |", "Zed Quux"),
        ("my name is jessica quux and i forgot it", "jessica quux"),
        ("hi i'm carlos, it is late", "carlos"),
        ("Can Priya join?", "Priya"),
        ("I told Zofia and Ravi", "Ravi"),
        ("Mark and Rose told me that they marry", "Mark"),
        ("please ask Zorblax whether it is done", "Zorblax"),
        ("Ngozi, can you send it again?", "Ngozi"),
        ("Nadia El Amrani est absente", "Nadia El Amrani"),
        ("Meine Mutter Zorblax Quux ist alt", "Zorblax Quux"),
        ("My son Jordan has a fever", "Jordan"),
    ],
)
def test_a_name_is_known_by_the_words_beside_it(text: str, name: str) -> None:
    assert name in _names(text)


@pytest.mark.parametrize(
    "text",
    [
        "called it",
        "the iPhone said",
        "FooBar said",
        'said "No" and left',
        "Dear sir, A.",
        "Dear Recruiter, hello",
        "name: Build and Test",
        "a library called Pandas",
        "Author: Penguin Books",
        '{"name": "Basic Plan", "price": 9}',
        "| Name | Price |\n|---|---|\n| Oak Table | 120 |",
        "He read Jane Eyre and Anna Karenina.",
        "the Adam optimizer",
        "const Alice = new Wallet();",
        "Will you come in May?",
        "Big Ben and Tower Bridge",
        "Ben & Jerry's",
        "Mary Poppins is a musical.",
        "Python, Ruby and Julia are languages.",
        "a table at Luigi's Pizza",
        "format: Annotated[str, None]",
        "Is Savannah cheaper than Charlotte, NC?",
    ],
)
def test_no_name_is_seen_where_none_begins(text: str) -> None:
    assert _names(text) == []


def test_a_found_name_speaks_for_the_same_word_elsewhere() -> None:
    assert _names("Zubin Quuxley? No.") == []
    assert _names("The patient Zubin Quuxley came. Then Quuxley left.") == ["Zubin Quuxley", "Quuxley"]
