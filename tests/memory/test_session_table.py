"""The sessions in memory stay within their bounds."""

from __future__ import annotations

import pytest

from instance.memory import session_table
from instance.memory.session import Session, Turn
from instance.memory.session_table import SessionTable
from tests.opened import opened


def _session(number: int, tokens: int) -> Session:
    identity = number.to_bytes(16)
    made = Session(f"sess_{number}", identity, "chatmem", "", "", "", "", 2**62, 0)
    made.add([Turn({"role": "user", "content": "x"}, b"d", tokens, 0)])
    return made


async def test_the_longest_unused_leave_memory_when_they_are_too_many_or_too_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_table, "HOT_MAX", 3)
    monkeypatch.setattr(session_table, "HOT_MAX_BYTES", 10_000)
    async with opened() as one:
        table = SessionTable(one.instance.core)
        for number in range(5):
            table.put(_session(number, 10))
        assert [int.from_bytes(each) for each in table._hot] == [2, 3, 4]
        table.put(_session(9, 2_400))
        assert [int.from_bytes(each) for each in table._hot] == [9]
        await table.flush()
        assert (await table.find((2).to_bytes(16))) is not None
        assert table._size == sum(each.size for each in table._hot.values())
