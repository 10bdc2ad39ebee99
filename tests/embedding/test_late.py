"""Counting what went without vectors, by reason and by when it was."""

from __future__ import annotations

from instance.chute.embedding.late import FULL, LATE, Lateness

S = 10**9


def test_what_is_counted_is_told_by_reason_and_by_window() -> None:
    now = 1_000 * S
    lateness = Lateness(lambda: now)
    lateness.add(LATE)
    lateness.add(LATE)
    now += 120 * S
    lateness.add(FULL)
    assert lateness.counts == {LATE: 2, FULL: 1}
    assert (lateness.within(60), lateness.within(300)) == (1, 3)
    now += 3600 * S
    assert (lateness.within(60), lateness.within(300)) == (0, 0)
