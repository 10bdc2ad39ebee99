"""No call is billed twice, in whatever order and however often an instance's counters are read."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, insert

from control_plane.store import usage
from control_plane.store.schema import epochs, metadata, usage_days, usage_readings

DAY_S = 86_400.0
READINGS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 3)), min_size=1, max_size=12)


def _counted(readings: list[tuple[int, int]], *, copied: bool) -> int:
    with create_engine("sqlite://").begin() as connection:
        metadata.create_all(connection, tables=[epochs, usage_days, usage_readings])
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
