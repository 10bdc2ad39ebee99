"""A call's own attributes: each has its place, and a branch takes all of them along."""

from __future__ import annotations

from tests.modules.exchanges import exchange, target


def test_no_attribute_of_a_call_needs_a_dictionary() -> None:
    assert exchange().__dict__ == {}


def test_a_branch_has_what_was_found_in_the_texts_of_its_call() -> None:
    x = exchange()
    x.request_hits, x.scanned, x.scanned_answer = frozenset((3,)), {1: "hi"}, ("hello", frozenset())
    x.change()
    other = x.branch([target()])
    assert (other.request_hits, other.scanned, other.scanned_answer, other.unscanned) == (
        x.request_hits,
        x.scanned,
        x.scanned_answer,
        True,
    )
