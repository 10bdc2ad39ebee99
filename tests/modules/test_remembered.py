"""Where the newest turns begin."""

from __future__ import annotations

import random
from typing import Any

import pytest

from instance.chute.modules.transform.conversation_units import conversation_of
from instance.chute.modules.transform.remembered import newest
from instance.memory.session import Turn


def _turns(chance: random.Random) -> list[Turn]:
    made: list[dict[str, Any]] = []
    for number in range(chance.randint(0, 12)):
        role = chance.choice(["user", "assistant", "tool", "function"])
        message: dict[str, Any] = {"role": role, "content": "x"}
        if role == "assistant" and chance.random() < 0.6:
            message["tool_calls"] = [{"id": f"c{number}"}, {"id": f"d{number}"}]
        if role == "tool":
            message["tool_call_id"] = chance.choice([f"c{number - 1}", f"d{number - 2}", "other"])
        made.append(message)
    return [Turn(message, b"", chance.randint(1, 9), 0) for message in made]


@pytest.mark.parametrize("seed", range(200))
def test_the_newest_are_the_last_whole_units_that_fit(seed: int) -> None:
    chance = random.Random(seed)
    turns = _turns(chance)
    most = chance.randint(1, 8)
    start, count = len(turns), 0
    for unit in reversed(conversation_of([turn.message for turn in turns]).units):
        count += len(unit.places)
        if count > most:
            break
        start = unit.places[0]
    while start < len(turns) and turns[start].message["role"] in ("tool", "function"):
        start += 1
    assert newest(turns, most_messages=most) == start
