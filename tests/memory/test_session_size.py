"""A session's size follows its turns."""

from __future__ import annotations

import random

import pytest

from instance.memory.session import TURNS_MAX, Session, Turn


@pytest.mark.parametrize("seed", range(20))
def test_the_size_is_that_of_the_turns_however_they_came(seed: int) -> None:
    chance = random.Random(seed)
    session = Session("s", b"i", "chatmem", "n", "", "", "k", 0, 0)
    for _ in range(12):
        turns = [Turn({}, b"", chance.randint(0, 90), 0) for _ in range(chance.choice((2, 3, 400)))]
        session.add(turns, chance.choice((None, chance.randint(0, 700))))
        assert session.size == sum(turn.tokens for turn in session.turns) * 4 + 200 * len(session.turns)
    assert len(session.turns) <= TURNS_MAX
