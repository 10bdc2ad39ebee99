"""How a statement goes against the clauses of a reference: by words, numbers, names, and who did it to whom."""

from __future__ import annotations

import pytest

from instance.chute.modules.safety.checkable_facts import doubts
from instance.chute.modules.safety.clauses import Clauses
from instance.chute.modules.safety.json_records import records
from instance.chute.modules.safety.measures import Measures
from instance.chute.modules.safety.stated_numbers import follows, numbers, shares
from instance.chute.modules.safety.stated_sums import wrong_sums

STAFF = [
    "Anna interviewed Ben for the senior post on Tuesday.",
    "Ben had been recommended by Carla.",
    "She likes Oslo.",
]
LIMITS = ["The service allows 100 calls on the free plan and 1,000 on the pro plan.", "It has no batch mode."]


@pytest.mark.parametrize(
    ("reference", "statement", "why"),
    [
        (STAFF, "Ben interviewed Anna.", "name"),
        (STAFF, "Ben was interviewed by Anna.", ""),
        (STAFF, "Anna interviewed Ben for the junior post.", "negation"),
        (STAFF, "Anna had been recommended by Carla.", "name"),
        (STAFF, "Carla recommended Ben.", ""),
        (STAFF, "Carla likes Oslo.", ""),
        (LIMITS, "The pro plan allows 100 calls.", "number"),
        (LIMITS, "The free plan allows 100 calls.", ""),
        (LIMITS, "It has a batch mode.", "negation"),
        (LIMITS, "There is no batch mode.", ""),
        (["Swimming is prohibited."], "Swimming isn't allowed.", ""),
        (["Swimming is prohibited."], "Swimming is allowed.", "negation"),
        (["An unknown format raises an error."], "A format that is not known raises an error.", ""),
        (["The start moves from 14 May to 21 May."], "The start moves from 21 May to 14 May.", "name"),
        (["We meet in room B."], "We meet in room C.", "name"),
    ],
)
def test_a_statement_goes_against_what_it_is_about(reference, statement, why):
    assert Clauses(reference).against(statement) == why


@pytest.mark.parametrize("sentence", [*STAFF, *LIMITS])
def test_a_reference_says_what_it_says(sentence):
    assert Clauses([*STAFF, *LIMITS]).against(sentence) == ""


@pytest.mark.parametrize(
    ("reference", "statement", "contradicts"),
    [
        ("The path is 12 miles long.", "The path is 12 kilometres long.", True),
        ("The path is 12 miles long.", "The path is 19 km long.", False),
        ("Keys last 90 days.", "Keys last 90 hours.", True),
        ("It takes seven days.", "It takes a week.", False),
        ("It takes 100 calls per minute.", "It takes 100 calls per hour.", True),
        ("For children over 12.", "For children under 12.", True),
        ("It is -4 degrees.", "It is 4 degrees.", True),
        ("The cache is twice as fast.", "The cache is three times as fast.", True),
    ],
)
def test_a_measure_is_its_number_and_its_unit(reference, statement, contradicts):
    assert Measures(reference).contradicts(statement) is contradicts


def test_numbers_are_the_same_however_they_are_written():
    assert numbers("$4.2 million") == numbers("4,200,000 dollars") == numbers("$4.2M")
    assert numbers("at 3:37 pm") == numbers("at 15:37")
    assert numbers("between 60k and 75k") == {"60000", "75000"}


@pytest.mark.parametrize(
    ("number", "statement", "known"),
    [
        ("5", "Building it took five years.", "It was built between 1951 and 1956."),
        ("22", "Altogether there are 22.", "One has 7, one 12, one 3."),
        ("75", "That is 75% of the answers.", "Of 1,204 answers 903 were short."),
        ("10", "That is ten times as many.", "100 for one and 1,000 for the other."),
    ],
)
def test_a_number_may_be_worked_out_from_others(number, statement, known):
    assert follows(number, statement, shares(statement), numbers(known), shares(known))
    assert not follows(
        "23", statement.replace("75%", "23%"), shares("23%") if "%" in statement else set(), numbers(known), set()
    )


@pytest.mark.parametrize(
    "right",
    [
        "A 15% tip on $60 is $9.", "A 15% tip on $60 makes $69.", "25 is 12.5% of 200.", "Sales went from 80 to 100, a gain of 25%.",
        "The mean of 3, 5 and 10 is 6.", "5! = 120", "The square root of 144 is 12.", "100 km / 2 h = 50 km/h", "In binary, 1 + 1 = 10.",
        "0.1 + 0.2 = 0.30000000000000004", "120 is about 33% of 360.",
    ],
)  # fmt: skip
def test_a_right_sum_is_not_doubted(right):
    assert list(wrong_sums(right)) == []


@pytest.mark.parametrize(
    "wrong",
    [
        "A 15% tip on $60 is $12.", "10% off $90 makes $80.", "25 is 20% of 200.", "Sales went from 80 to 100, a gain of 20%.",
        "The mean of 3, 5 and 10 is 7.", "5! = 100", "sqrt(144) = 14", "100 km / 2 h = 60 km/h",
    ],
)  # fmt: skip
def test_a_wrong_sum_is_found(wrong):
    assert len(list(wrong_sums(wrong))) == 1


def test_json_is_read_record_by_record():
    text = '{"page": 1, "users": [{"name": "Ruiz", "openTickets": 7, "tags": ["a", "b"]}, {"name": "Tan", "on_call": true}]}'
    assert records(text) == [
        "page: 1",
        "users: name: Ruiz | open Tickets: 7 | tags: a, b",
        "users: name: Tan | on call: true",
    ]
    assert records("[not json") == records("plain") == []


@pytest.mark.parametrize(
    ("answer", "doubted"),
    [
        ("See https://acme.example/refunds for it.", True),
        ("See https://acme.example/help for it.", False),
        ("See https://acme.example for it.", False),
        ("See https://docs.python.org/3/ for it.", False),
        ("Mail returns@acme.example for it.", True),
        ("Mail help@acme.example for it.", False),
    ],
)
def test_a_page_of_a_known_host_that_no_source_names_is_doubted(answer, doubted):
    prompt = "Our help is at https://acme.example/help or help@acme.example."
    found = [each.why for each in doubts(answer, prompt, frozenset(("url", "email")), grounded=True)]
    assert found == ["address"] * doubted
