"""What is remembered of texts that come again."""

from __future__ import annotations

from instance.chute.text_memory import TextMemory


def test_what_was_kept_of_a_text_is_found_again() -> None:
    memory: TextMemory[int] = TextMemory()
    assert memory.get("one") is None
    assert memory.keep("one", 1) == 1
    assert memory.get("one") == 1


def test_texts_that_nobody_asked_for_lately_are_forgotten() -> None:
    memory: TextMemory[int] = TextMemory(most=10)
    memory.keep("kept", 0)
    for number in range(100):
        memory.keep(str(number), number)
        assert memory.get("kept") == 0
        assert len(memory) <= 20
    assert memory.get("1") is None
    assert memory.get("99") == 99
