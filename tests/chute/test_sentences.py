"""Sentences: where they end, and that nothing of a text is lost by splitting it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instance.chute.sentences import HOLD_MAX_CHARS, SentenceHold, split_sentences


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("One. Two! Three?", ["One. ", "Two! ", "Three?"]),
        (
            "Dr. Who met Mr. Smith, e.g. in the U.S. army. Then he left.",
            ["Dr. Who met Mr. Smith, e.g. in the U.S. army. ", "Then he left."],
        ),
        ("It costs 3.50 at example.com/a.b today. Good.", ["It costs 3.50 at example.com/a.b today. ", "Good."]),
        ("He said “Go.” She went.", ["He said “Go.” ", "She went."]),
        ("Wait... what? Yes.", ["Wait... what? ", "Yes."]),
        ("Heading\n\nText here. More", ["Heading\n\n", "Text here. ", "More"]),
        ("To do:\n1. wash up\n2. sleep", ["To do:\n", "1. wash up\n", "2. sleep"]),
        ("今日は晴れ。明日は雨。", ["今日は晴れ。", "明日は雨。"]),
        ("no end", ["no end"]),
        ("", []),
    ],
)
def test_a_text_is_split_where_a_reader_pauses(text: str, pieces: list[str]) -> None:
    assert split_sentences(text) == pieces


@pytest.mark.parametrize("short", "Mr Prof St vs etc approx No Nr Fig Inc Co ca al bzw usw Abs A e.g U.S".split())
def test_the_stop_of_an_abbreviation_ends_no_sentence(short: str) -> None:
    assert split_sentences(f"It is {short}. five. Or not.") == [f"It is {short}. five. ", "Or not."]


@given(st.text(alphabet="aA. !?\n1)-…”。U", max_size=80))
def test_the_pieces_join_to_the_text(text: str) -> None:
    assert "".join(split_sentences(text)) == text


@given(st.text(alphabet="aA. !?\n1)-…”。U", max_size=80), st.integers())
def test_a_stream_gives_back_all_of_it_however_it_is_cut(text: str, seed: int) -> None:
    chance, hold, position, pieces = random.Random(seed), SentenceHold(), 0, []
    while position < len(text):
        size = chance.randint(1, 5)
        pieces += hold.feed(text[position : position + size], False)
        position += size
    pieces += hold.feed("", True)
    assert "".join(pieces) == text


def test_a_sentence_is_held_until_the_next_one_begins() -> None:
    hold = SentenceHold()
    assert hold.feed("It is 3", False) == []
    assert hold.feed(".", False) == []
    assert hold.feed("5 degrees. ", False) == []
    assert hold.feed("N", False) == ["It is 3.5 degrees. "]
    assert hold.feed("ice.", True) == ["Nice."]


def test_a_text_without_an_end_is_cut_before_it_grows_without_bound() -> None:
    hold = SentenceHold()
    pieces = hold.feed("word " * HOLD_MAX_CHARS, False)
    assert all(len(piece) <= HOLD_MAX_CHARS for piece in pieces)
    assert all(piece.endswith(" ") for piece in pieces)
