"""A tenant is told once a month at each step of using up its plan's calls."""

from __future__ import annotations

from control_plane.domain.quota import QuotaUsed, Step, quota_said, taken


def _said(calls: int, month: str = "2026-01") -> QuotaUsed:
    return QuotaUsed(month, calls, 100, 110)


def _told(*said: QuotaUsed) -> list[Step]:
    before, told = None, []
    for each in said:
        before, news = taken(before, each)
        told += news
    return told


def test_each_step_is_told_of_when_it_is_reached_and_not_again() -> None:
    assert _told(*(_said(calls) for calls in (79, 80, 99, 100, 100, 109, 110, 110, 90, 110))) == [
        Step.NEAR,
        Step.PASSED,
        Step.REFUSED,
    ]


def test_steps_that_were_passed_over_between_two_readings_are_told_of_too() -> None:
    assert _told(_said(0), _said(110)) == [Step.NEAR, Step.PASSED, Step.REFUSED]


def test_a_new_month_begins_anew_and_a_late_reading_of_the_last_one_changes_nothing() -> None:
    assert _told(_said(85), _said(10, "2026-02"), _said(110), _said(81, "2026-02")) == [Step.NEAR, Step.NEAR]


def test_a_larger_plan_leads_back_without_a_word() -> None:
    larger = QuotaUsed("2026-01", 110, 1000, 1100)
    assert taken(taken(None, _said(110))[0], larger) == (QuotaUsed("2026-01", 110, 1000, 1100, noted=3), [])


def test_an_instance_without_a_limit_says_nothing() -> None:
    assert quota_said(None) is None
