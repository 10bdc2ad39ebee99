"""Marks of sources in a text that comes in pieces."""

import re

from hypothesis import given
from hypothesis import strategies as st

from instance.chute.dialects.perplexity.sources import Marks, source_annotations

PIECES = st.lists(st.text("[]12 a", max_size=5), max_size=10)


def through(pieces: list[str], *, strip: bool) -> tuple[str, list[tuple[int, int, int]]]:
    marks = Marks(strip=strip)
    return "".join([*(marks.feed(piece) for piece in pieces), marks.flush()]), marks.found


@given(PIECES)
def test_marks_are_found_at_their_places_wherever_the_text_is_cut(pieces: list[str]) -> None:
    text = "".join(pieces)
    said, found = through(pieces, strip=False)
    assert said == text
    assert found == [(int(mark[1]), mark.start(), mark.end()) for mark in re.finditer(r"\[(\d{1,3})\]", text)]


@given(PIECES)
def test_stripped_text_has_no_mark_of_the_original_and_loses_nothing_else(pieces: list[str]) -> None:
    text = "".join(pieces)
    said, found = through(pieces, strip=True)
    assert said == re.sub(r"\[\d{1,3}\]", "", text)
    assert [number for number, _, _ in found] == [int(number) for number in re.findall(r"\[(\d{1,3})\]", text)]


def test_every_source_is_cited_and_numbers_without_a_source_are_not() -> None:
    found = source_annotations([(2, 3, 6), (9, 7, 10)], {"citations": ["https://a.example", "https://b.example"]})
    cited = [(one["url_citation"]["url"], one["url_citation"]["start_index"]) for one in found]
    assert cited == [("https://b.example", 3), ("https://a.example", 0)]
    assert source_annotations([], {}) == []
