import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from instance.chute.modules.observe.llmtap import LLMTap
from instance.chute.statistics import series as series_module
from instance.chute.statistics.series import EVERYTHING_ELSE, NS_PER_MINUTE, Minutes, Series, SeriesKey, merged
from instance.chute.statistics.store import DAY_S, HOUR_S, MINUTE_S, insert_series, read_series, roll_up

KEY = SeriesKey("openai", "gpt-4o", "", "1", "default")


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    made = sqlite3.connect(":memory:", isolation_level=None)
    folder = LLMTap.migrations
    assert isinstance(folder, Path)
    for script in sorted(folder.glob("*.sql")):
        made.executescript(script.read_text())
    yield made
    made.close()


def one_call(latency_us: int = 1000, cost_nano: int = 5) -> Series:
    series = Series()
    series.outcomes[("ok", "off")] = 1
    series.cost_nano = cost_nano
    series.tokens_in = 3
    series.latency_us.add(latency_us)
    return series


def everything(connection: sqlite3.Connection) -> Series:
    total = Series()
    for _, _, series in read_series(connection, 0, 1 << 40):
        total.merge(series)
    return total


def test_what_is_written_is_read_back(connection: sqlite3.Connection) -> None:
    failed = one_call()
    failed.count_error("rate_limited")
    insert_series(connection, MINUTE_S, [(5, KEY, failed), (5, KEY, one_call()), (6, KEY, one_call())])
    rows = list(read_series(connection, 300, 360))
    assert [(start, key) for start, key, _ in rows] == [(300, KEY), (300, KEY)]
    total = everything(connection)
    assert (total.calls, total.tokens_in, total.cost_nano, total.errors) == (3, 9, 15, {"rate_limited": 1})
    assert total.latency_us.count == 3


def test_old_minutes_become_hours_and_old_hours_days_and_nothing_is_lost(connection: sqlite3.Connection) -> None:
    rows = [(minute, KEY, one_call(latency_us=minute + 1)) for minute in range(0, 3 * 1440, 7)]
    insert_series(connection, MINUTE_S, rows)
    before = everything(connection)
    now_s = 100 * DAY_S
    while roll_up(connection, now_s):
        pass
    after = everything(connection)
    resolutions = dict(connection.execute("SELECT resolution_s, count(*) FROM call_statistics GROUP BY 1"))
    assert resolutions == {DAY_S: 3}
    assert (after.calls, after.cost_nano, after.latency_us.counts) == (
        before.calls,
        before.cost_nano,
        before.latency_us.counts,
    )


def test_young_minutes_stay(connection: sqlite3.Connection) -> None:
    insert_series(connection, MINUTE_S, [(0, KEY, one_call())])
    assert not roll_up(connection, HOUR_S)


def test_days_are_kept_for_a_bounded_time(connection: sqlite3.Connection) -> None:
    insert_series(connection, DAY_S, [(0, KEY, one_call())])
    while roll_up(connection, 10_000 * DAY_S):
        pass
    assert everything(connection).calls == 0


def test_series_of_a_minute_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series_module, "SERIES_MAX", 3)
    minutes = Minutes()
    for number in range(10):
        minutes.series(NS_PER_MINUTE, *KEY._replace(key_id=str(number))).merge(one_call())
    assert len(minutes.minutes[1]) == 4
    assert minutes.minutes[1][EVERYTHING_ELSE].calls == 7
    groups = merged(iter(minutes), lambda key: (key.provider,))
    assert sum(series.calls for series in groups.values()) == 10


def test_only_minutes_that_are_over_are_taken() -> None:
    minutes = Minutes()
    minutes.series(NS_PER_MINUTE, *KEY)
    minutes.series(2 * NS_PER_MINUTE, *KEY)
    assert [minute for minute, _, _ in minutes.take_before(3 * NS_PER_MINUTE - 1)] == [1]
    assert list(minutes.minutes) == [2]


def test_error_codes_are_bounded() -> None:
    series = Series()
    for number in range(200):
        series.count_error(f"code{number}")
    assert len(series.errors) <= series_module.ERROR_CODES_MAX + 1
    assert sum(series.errors.values()) == 200
