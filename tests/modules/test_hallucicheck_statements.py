"""hallucicheck: what clauses, tables, numbers and words of a statement say against a reference, without any embedding."""

from __future__ import annotations

import pytest

from instance.chute.modules.safety.clauses import Clauses
from instance.chute.modules.safety.general_knowledge import is_general
from instance.chute.modules.safety.grounding import Given, Reference, references
from instance.chute.modules.safety.new_words import NewWords
from instance.chute.modules.safety.parts_of_speech import parts_of_speech
from instance.chute.modules.safety.stated_numbers import counted, numbers
from instance.chute.modules.safety.table_records import without_tables
from instance.chute.modules.safety.told import Told
from instance.chute.modules.safety.weak_meaning import is_weak

POLICY = [
    "Employees may work from home up to three days per week.",
    "Contractors are not covered by this policy.",
    "The proxy is suspected to be the cause of the timeouts.",
    "Exports over 50 MB fail.",
    "The fair was moved from 6 July to 13 July.",
    "Nora was born in Enugu and studied in Leeds.",
    "The shop is open from Tuesday to Saturday.",
    "Die Behörde muss noch zustimmen.",
]


@pytest.mark.parametrize(
    "statement, why",
    [
        ("Employees must work from home three days per week.", "negation"),
        ("Contractors may work from home.", "negation"),
        ("All exports fail.", "negation"),
        ("The fair takes place on 6 July.", "number"),
        ("Nora studied in Enugu.", "name"),
        ("The shop is closed on Tuesday.", "negation"),
        ("Die Behörde hat bereits zugestimmt.", "negation"),
    ],
)
def test_a_statement_that_goes_against_a_clause(statement: str, why: str) -> None:
    assert Clauses(POLICY).against(statement) == why


@pytest.mark.parametrize(
    "statement",
    [
        "Employees can work from home up to three days per week.",
        "Contractors fall outside this policy.",
        "The proxy may be the cause of the timeouts.",
        "Exports of more than 50 MB fail.",
        "The fair takes place on 13 July.",
        "Nora studied in Leeds.",
        "The shop is closed on Monday.",
        "Die Behörde hat noch nicht zugestimmt.",
    ],
)
def test_a_statement_that_says_the_same_in_other_words(statement: str) -> None:
    assert Clauses(POLICY).against(statement) == ""


TABLE = "Plans:\n| Plan | Price | SSO |\n|---|---|---|\n| Starter | $9 | no |\n| Team | $29 | no |\n| Business | $79 | yes |\nAsk us."


def test_rows_of_a_table_stand_with_the_names_of_their_columns() -> None:
    rest, rows = without_tables(TABLE)
    assert rows == ["Plan: Starter | Price: $9 | SSO: no", "Plan: Team | Price: $29 | SSO: no", "Plan: Business | Price: $79 | SSO: yes"]  # fmt: skip
    assert rest == "Plans:\nAsk us."
    assert without_tables("a | b\nno rule") == ("a | b\nno rule", [])


@pytest.mark.parametrize(
    "statement, agrees",
    [
        ("The Team plan includes SSO.", False),
        ("Starter has no SSO.", True),
        ("All plans come with SSO.", False),
        ("Only Business has SSO.", True),
        ("Only Team has SSO.", False),
        ("The Team plan is popular.", None),
    ],
)
def test_a_field_that_is_only_true_or_false(statement: str, agrees: bool | None) -> None:
    clauses = Clauses(references([Given(TABLE, tool=True)]))
    assert (clauses.against(statement) == "negation") is (agrees is False)


def test_a_value_of_another_record_or_field() -> None:
    clauses = Clauses(["Route: 12A | Departs: 07:40 | Arrives: 08:25", "Route: 12B | Departs: 09:10 | Arrives: 10:05"])
    assert clauses.against("Route 12A arrives at 10:05.") == "number"
    assert clauses.against("Route 12A departs at 8:25.") == "number"
    assert clauses.against("Route 12A arrives at 8:25.") == ""


def test_numbers_as_they_are_told() -> None:
    assert numbers("dix-huit mois") == {"18"}
    assert numbers("twenty-five people") == {"25"}
    assert counted("2,400 per store") == {}
    reference = Told("There are 18 stores at 2,400 each; 62 percent are open.")
    assert reference.implies("43200", Told("It costs 43,200."))
    assert not reference.implies("43201", Told("It costs 43,201."))
    assert reference.nears(60.0, Told("more than 60%"))
    assert not reference.nears(60.0, Told("less than 60%"))


def test_what_is_new_and_what_is_near_or_light_is_not() -> None:
    words = NewWords(["The dam supplies water."], "The dam supplies water.", ["The dam supplies electricity there."])
    assert words.texts == ["electricity", "dam", "supplies", "water"]


def test_things_and_doings() -> None:
    told = dict(parts_of_speech("The dam supplies electricity and the sun sets".split()))
    assert (told["supplies"], told["electricity"], told["sun"], told["sets"]) == (True, False, False, True)
    assert dict(parts_of_speech("Die Fabrik stellt Fernrohre her".split()))["fernrohre"] is False


@pytest.mark.parametrize(
    "statement, general",
    [
        ("Dams hold back water to supply cities and farms.", True),
        ("A dam is a wall across a river.", True),
        ("Dams hold back 3 tons of water.", False),
        ("The dams hold back water here.", False),
        ("Employees must work from home daily.", False),
    ],
)
def test_what_is_said_of_things_in_general(statement: str, general: bool) -> None:
    assert is_general(statement) is general


def test_a_long_reference_is_compared_within_bounds() -> None:
    long = [f"Number {each} of the list is about item {each} and its colour." for each in range(400)]
    reference = Reference(long, ["Dragons eat marzipan in the attic."])
    assert len(reference.texts) <= 120 + 1 + 60 + 150


@pytest.mark.parametrize(
    "statement, known, anchored, weak",
    [
        ("The manufacturer has confirmed the defect.", 0.0, False, False),
        ("The manufacturer has confirmed the defect.", 0.0, True, True),
        ("The manufacturer has confirmed the defect.", 0.6, False, True),
        ("The manufacturer should confirm the defect.", 0.0, False, True),
        ("The manufacturer has by now confirmed to all of its customers that it is a defect.", 0.0, False, True),
        ("It failed because the database was unreachable.", 0.6, True, False),
        ("The noise is no reason to worry.", 0.6, True, True),
    ],
)
def test_where_meaning_alone_says_little(statement: str, known: float, anchored: bool, weak: bool) -> None:
    assert is_weak(statement, known, anchored=anchored) is weak


def test_in_other_languages_meaning_says_little_where_no_word_is_shared() -> None:
    assert is_weak("Tous les voyageurs sont remboursés.", 0.0, anchored=False, english=False)
    assert not is_weak("Tous les voyageurs sont remboursés.", 0.3, anchored=False, english=False)


NOTES = [
    "Only a technician may open the circuit.",
    "The importer accepts archives up to 2 GB (before: 500 MB).",
    "worker-7 lost its connection.",
    "autoscaler: consumers 2 -> 8",
    "The proposal to install solar panels was postponed.",
    "Two of the pumps are old and one of five nodes was affected.",
]


@pytest.mark.parametrize(
    "statement, why",
    [
        ("Do not open the circuit yourself.", ""),
        ("No solar panels are installed.", ""),
        ("worker-2 lost its connection.", "name"),
        ("worker-7 lost its connection.", ""),
        ("Archives may be up to 500 MB.", "number"),
        ("Archives may be up to 2 GB.", ""),
        ("Consumers went from 8 to 2.", "number"),
        ("Consumers went from 2 to 8.", ""),
        ("All nodes were affected.", "negation"),
    ],
)
def test_what_few_may_do_what_was_before_and_names_with_numbers(statement: str, why: str) -> None:
    assert Clauses(NOTES).against(statement) == why


def test_a_number_of_another_record_under_another_name() -> None:
    rows = ["City: Orveda | People 2020: 468,300", "City: Kerrin | People 2020: 121,400"]
    assert Clauses(rows).against("Kerrin had 468,300 inhabitants in 2020.") == "number"
    assert Clauses(rows).against("Kerrin had 121,400 inhabitants in 2020.") == ""


def test_a_table_without_a_rule_has_rows_too() -> None:
    assert without_tables("| City | Trams |\n| Kerrin | 0 |") == ("", ["City: Kerrin | Trams: 0"])
    assert without_tables("| 1 | 2 |\n| 3 | 4 |")[1] == []


def test_lines_of_a_chat_stand_by_themselves() -> None:
    chat = "Ada: the drum is new\nRaj: then we keep it\nAda: fine"
    assert references([Given(chat, tool=True)]) == chat.split("\n")


def test_numbers_that_follow() -> None:
    assert Told("23.500 euros en cuatro cuotas").implies("5875", Told("Cada cuota es de 5.875 euros."))
    assert Told("28 days, 17 taken, 4 pending").implies("7", Told("7 days are left."))
    assert Told("2,140 nurses").implies("2000", Told("More than 2,000 nurses took part."))
    assert not Told("2,140 nurses").implies("3000", Told("More than 3,000 nurses took part."))
    assert Told("96 Euro, Schüler die Hälfte").implies("48", Told("Schüler zahlen 48 Euro."))
    assert numbers("until ten in the evening") == {"22"}
