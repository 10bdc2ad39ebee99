"""The quick looks of the slimmer say the same as what they spare."""

from __future__ import annotations

import random
import re

import pytest

from instance.chute.modules.transform import prompt_slimmer
from instance.chute.modules.transform.prompt_slimmer import may_shorten, phrase_table, slim

PIECES = [
    "in order to",
    "Please",
    "kindly,",
    "prior to",
    "prıor to",
    " ",
    "  ",
    "\t",
    "\n",
    "\n\n",
    "\n \n",
    " \n",
    "| a  | b |\n",
    "<keep>",
    "</keep>",
    "<!--",
    "-->",
    "```\n",
    "~~~",
    '"',
    "“",
    "”",
    "\u200b",
    "{",
    "[",
    '{"a":  1, "b": "a value that is long enough to be looked at"}',
    "A sentence that is long enough.",
]


@pytest.mark.parametrize("seed", range(10))
def test_what_cannot_be_shortened_is_not(seed: int) -> None:
    chance = random.Random(seed)
    table = phrase_table({})
    for _ in range(300):
        text = "".join(chance.choices(PIECES, k=chance.randint(1, 10)))
        if not may_shorten(text):
            assert len(slim(text, 1, table, 70)) >= len(text.rstrip(" \t\n"))


@pytest.mark.parametrize("seed", range(10))
def test_with_quick_looks_the_outcome_is_that_of_the_expressions(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(seed)
    quick, table = phrase_table({}), phrase_table({})
    texts = ["".join(chance.choices(PIECES, k=chance.randint(1, 10))) for _ in range(300)]
    made = [slim(text, level, quick, 70) for text in texts for level in (1, 2, 3)]
    monkeypatch.setattr(prompt_slimmer, "_may_have_spare", lambda text: True)
    slow = table._replace(may_occur=lambda text: frozenset((0,)))  # type: ignore[arg-type]
    assert made == [slim(text, level, slow, 70) for text in texts for level in (1, 2, 3)]
    assert any(re.search("please", text, re.IGNORECASE) for text in texts)
