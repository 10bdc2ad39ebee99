"""The periods of budgets."""

from datetime import UTC, datetime

import pytest

from instance.billing.periods import calendar_window, zone


def ns(text: str) -> int:
    return (
        int(datetime.fromisoformat(text).replace(tzinfo=datetime.fromisoformat(text).tzinfo or UTC).timestamp()) * 10**9
    )


@pytest.mark.parametrize(
    ("period", "timezone", "start", "end"),
    [
        ("minute", "UTC", "2026-02-18T14:30", "2026-02-18T14:31"),
        ("hour", "UTC", "2026-02-18T14:00", "2026-02-18T15:00"),
        ("day", "UTC", "2026-02-18", "2026-02-19"),
        ("week", "UTC", "2026-02-16", "2026-02-23"),
        ("month", "UTC", "2026-02-01", "2026-03-01"),
        ("day", "America/New_York", "2026-02-18T05:00", "2026-02-19T05:00"),
        ("hour", "Asia/Kolkata", "2026-02-18T14:30", "2026-02-18T15:30"),
    ],
)
def test_a_calendar_period_begins_and_ends_where_the_zone_says(
    period: str, timezone: str, start: str, end: str
) -> None:
    assert calendar_window(period, ns("2026-02-18T14:30:30"), timezone) == (ns(start), ns(end))  # type: ignore[arg-type]


def test_a_day_of_summer_time_has_23_or_25_hours() -> None:
    spring = calendar_window("day", ns("2026-03-29T10:00"), "Europe/Berlin")
    autumn = calendar_window("day", ns("2026-10-25T10:00"), "Europe/Berlin")
    assert [(end - start) // (3600 * 10**9) for start, end in (spring, autumn)] == [23, 25]


def test_a_name_that_is_no_zone_is_refused() -> None:
    for name in ("Nowhere/Land", "../etc/passwd", ""):
        with pytest.raises(ValueError, match="time zone"):
            zone(name)
