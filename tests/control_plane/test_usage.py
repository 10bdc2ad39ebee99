"""No call is billed twice, in whatever order and however often an instance's counters are read."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, insert

from control_plane.domain.usage import COUNTERS, WHOLE, Counted, Reading, Subject, counted_now, gains
from control_plane.store import usage
from control_plane.store.schema import (
    epochs,
    metadata,
    usage_days,
    usage_model_days,
    usage_model_readings,
    usage_readings,
)

DAY_S = 86_400.0
READINGS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 3)), min_size=1, max_size=12)


def _counted(readings: list[tuple[int, int]], *, copied: bool) -> int:
    with create_engine("sqlite://").begin() as connection:
        metadata.create_all(
            connection, tables=[epochs, usage_days, usage_readings, usage_model_days, usage_model_readings]
        )
        row = {"tenant": "acme", "n": 1, "restored": copied, "started_at": 0.0, "bytes": 0}
        connection.execute(insert(epochs).values(**row, ledger_seq=0, ledger_hash=""))
        for requests, day in readings:
            usage.collect(connection, "acme", 1, {"requests": requests}, day * DAY_S)
        rows = usage.totals(connection, ["acme"], first_day=None, last_day=None, by="day")
        return sum(row["requests"] for row in rows)


@settings(max_examples=40, deadline=None)
@given(READINGS)
def test_a_new_database_is_billed_for_its_highest_reading(readings: list[tuple[int, int]]) -> None:
    assert _counted(readings, copied=False) == max(requests for requests, _ in readings)


@settings(max_examples=40, deadline=None)
@given(READINGS)
def test_a_copied_database_is_billed_for_what_came_after_its_first_reading(readings: list[tuple[int, int]]) -> None:
    first = readings[0][0]
    assert _counted(readings, copied=True) == max(requests for requests, _ in readings) - first


def _counters(requests: int) -> dict[str, int]:
    return dict.fromkeys(COUNTERS, requests)


def _read(calls_by_day: dict[str, int], *, shown: int = 8) -> Reading:
    """A reading of an instance that was called so often on those days, and shows the newest of them."""
    newest = sorted(calls_by_day)[-shown:]
    return Reading(
        {WHOLE: _counters(sum(calls_by_day.values()))}, {day: {WHOLE: _counters(calls_by_day[day])} for day in newest}
    )


def _collected(readings: list[tuple[str, Reading]]) -> dict[str, int]:
    """Requests by day after these readings, each with the day it was taken on."""
    counted: dict[Subject, Counted] = {}
    days: dict[str, int] = {}
    for today, reading in readings:
        for (day, _), gained in gains(reading, counted, today, copied=False).items():
            days[day] = days.get(day, 0) + gained["requests"]
        counted |= counted_now(reading, counted, today)
    return days


def test_a_call_before_midnight_that_is_collected_after_it_belongs_to_the_day_it_was_made_on() -> None:
    evening, morning = {"2026-01-01": 5}, {"2026-01-01": 8, "2026-01-02": 4}
    assert _collected([("2026-01-01", _read(evening)), ("2026-01-02", _read(morning))]) == morning


def test_days_on_which_the_control_plane_was_away_get_their_calls() -> None:
    calls = {"2026-01-01": 5, "2026-01-02": 1, "2026-01-03": 7, "2026-01-04": 2}
    assert _collected([("2026-01-01", _read({"2026-01-01": 2})), ("2026-01-04", _read(calls))]) == calls


def test_a_call_of_the_last_day_is_not_laid_on_the_day_it_was_collected_on() -> None:
    calls = {"2026-01-01": 5}
    assert _collected([("2026-01-01", _read({"2026-01-01": 2})), ("2026-01-03", _read(calls))]) == calls


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.booleans(), st.booleans()), max_size=30),
    st.integers(1, 3),
)
def test_every_call_is_counted_once_and_on_its_day(steps: list[tuple[int, int, bool, bool]], shown: int) -> None:
    """However days pass, calls come and readings are taken, taken twice or lost; days not shown are only summed."""
    calls: dict[str, int] = {}
    readings: list[tuple[str, Reading]] = []
    day, all_days_were_shown, since = 1, True, 0
    for passed, made, collected, again in steps:
        day += passed
        if made:
            calls[f"2026-01-{day:02}"] = calls.get(f"2026-01-{day:02}", 0) + made
        if collected and day <= 28:
            later = [name for name in calls if name > f"2026-01-{since:02}"]
            all_days_were_shown = all_days_were_shown and len(later) <= shown
            since = day
            readings += [(f"2026-01-{day:02}", _read(calls, shown=shown))] * (2 if again else 1)
            total = sum(calls.values())
            assert sum(_collected(readings).values()) == total
            if all_days_were_shown:
                assert _collected(readings) == calls
        if day > 28:
            break


def test_a_key_and_a_model_first_seen_after_midnight_are_counted_from_zero_by_the_same_days() -> None:
    key, model = Subject("key", "7"), Subject("model", "gpt-x")
    first = _read({"2026-01-01": 1})
    of_days = {
        "2026-01-01": {WHOLE: _counters(3), key: _counters(2), model: _counters(2)},
        "2026-01-02": {WHOLE: _counters(4), key: _counters(4), model: _counters(4)},
    }
    second = Reading({WHOLE: _counters(7), key: _counters(6), model: _counters(6)}, of_days)
    counted = counted_now(first, {}, "2026-01-01")
    found = gains(second, counted, "2026-01-02", copied=False)
    assert {place: gained["requests"] for place, gained in found.items()} == {
        ("2026-01-01", WHOLE): 2,
        ("2026-01-01", key): 2,
        ("2026-01-01", model): 2,
        ("2026-01-02", WHOLE): 4,
        ("2026-01-02", key): 4,
        ("2026-01-02", model): 4,
    }
