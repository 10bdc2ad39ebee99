"""Thinking between tags is told from the answer, wherever the text is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instance.chute.dialects.openai_like.think import ThinkSplitter


def split(pieces: list[str]) -> tuple[str, str]:
    splitter = ThinkSplitter()
    found = [*(splitter.feed(piece) for piece in pieces), splitter.flush()]
    return "".join(one for one, _ in found), "".join(other for _, other in found)


@pytest.mark.parametrize(
    ("text", "thinking", "content"),
    [
        ("<think>hm</think>\n\nyes", "hm", "yes"),
        ("\n<think>a < b </thin k></think>yes </think>", "a < b </thin k>", "yes </think>"),
        ("no tags <think>here</think>", "", "no tags <think>here</think>"),
        ("<think>never closed", "never closed", ""),
        ("<thin", "", "<thin"),
        ("<thing>", "", "<thing>"),
        ("", "", ""),
        ("<think></think>", "", ""),
    ],
)
def test_the_same_wherever_it_is_cut(text: str, thinking: str, content: str) -> None:
    assert split([text]) == (thinking, content)
    assert split(list(text)) == (thinking, content)
    for cut in range(len(text)):
        assert split([text[:cut], text[cut:]]) == (thinking, content)


@given(st.lists(st.text("<think>/ab\n", max_size=6), max_size=8))
def test_any_pieces_give_what_the_whole_gives(pieces: list[str]) -> None:
    assert split(pieces) == split(["".join(pieces)])
