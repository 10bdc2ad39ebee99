"""Where there is an address, its expression for the shared matcher occurs."""

from __future__ import annotations

import re

import pytest
import re2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from instance.chute.modules.safety import street_addresses
from instance.chute.modules.safety.street_addresses import TRIGGER, find_addresses

PATTERNS = street_addresses._PATTERNS
TAKEN = {pattern: st.from_regex(pattern, fullmatch=True) for pattern in PATTERNS}
"""Texts that a form takes, made once: a strategy of its own for each text would read the expression anew."""
EXAMPLES = [
    "12 North Main Street, Apt 4, Springfield, IL 62704",
    "221B Baker St",
    "Lange Gasse 7a",
    "Hauptstraße 12, 10115 Berlin",
    "Prinsengracht 263",
    "14 bis, rue de la Paix, 75002 Paris",
    "Calle de los Reyes Católicos, n. 12",
    "via Roma 4",
    "ul. Długa 5/7, 00-950 Warszawa",
    "Am Alten Markt 3 b, D-50667 Köln",
    "P.O. Box 1234",
    "boîte postale 12",
    "Av. Paulista 1578",
    "i live at 45 elm street now",
]


@pytest.mark.parametrize("text", EXAMPLES)
def test_an_address_has_its_expression_and_is_found(text: str) -> None:
    assert list(find_addresses(text))
    assert re2.search(TRIGGER, text)


@pytest.mark.parametrize("pattern", PATTERNS)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_a_form_takes_for_an_address_has_the_expression(pattern: re.Pattern[str], data: st.DataObject) -> None:
    text = data.draw(TAKEN[pattern])
    assert re2.search(TRIGGER, text)


@pytest.mark.parametrize("text", ["Level 3 Support Way", "we got to 2 lane road", "look at 4 wheel drive", "at 3 Ways"])
def test_a_number_that_counts_is_of_no_address(text: str) -> None:
    assert not list(find_addresses(text))


@pytest.mark.parametrize(
    "text", ["Lot 100123: The north gate opens at six.", "It took 3 days and 20 people.", "Version 2.5 of it"]
)
def test_a_number_alone_is_no_reason_to_look(text: str) -> None:
    assert re2.search(TRIGGER, text) is None
