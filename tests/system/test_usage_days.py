"""What an instance says it did, by key, by model and by day: the sums that a control plane bills by."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from instance.system import usage_days
from tests.opened import Opened, opened
from tests.system.test_control import ask

DAY_NS = 86_400_000_000_000
TODAY = 20_500  # days since 1970


@pytest.fixture
async def one() -> AsyncIterator[Opened]:
    async with opened(hosted=True) as instance:
        yield instance


async def reading(one: Opened) -> dict[str, Any]:
    return (await ask(one, "GET", "usage")).json()  # type: ignore[no-any-return]


def iso(day: int) -> str:
    return datetime.fromtimestamp(day * 86_400, UTC).date().isoformat()


async def test_calls_are_told_apart_by_model_and_by_the_day_they_were_made_on(one: Opened) -> None:
    for day, key, model in ((TODAY - 1, "1", "a"), (TODAY - 1, "1", "b"), (TODAY, "2", "a"), (TODAY, "2", "a")):
        one.record(created_at_ns=day * DAY_NS + 5, key_id=key, model=model)
    found = await reading(one)
    assert found["requests"] == 4
    assert {name: each["requests"] for name, each in found["by_model"].items()} == {"a": 3, "b": 1}
    assert [(day, each["requests"]) for day, each in found["by_day"].items()] == [(iso(TODAY), 2), (iso(TODAY - 1), 2)]
    today, before = found["by_day"][iso(TODAY)], found["by_day"][iso(TODAY - 1)]
    assert {name: each["requests"] for name, each in today["by_key"].items()} == {"2": 2}
    assert {name: each["tokens_out"] for name, each in before["by_model"].items()} == {"a": 20, "b": 20}
    assert (today["bytes_out"], today["cost_usd"]) == (200, 2e-06)


async def test_a_key_tells_when_it_was_last_used(one: Opened) -> None:
    one.record(created_at_ns=TODAY * DAY_NS, key_id="1")
    assert (await reading(one))["by_key"]["1"]["last_request_at"] == f"{iso(TODAY)}T00:00:00.000000Z"


async def test_days_that_lie_far_back_are_no_longer_told_apart_and_nothing_of_them_is_lost(one: Opened) -> None:
    days = 3 * usage_days.DAYS
    for day in range(TODAY - days, TODAY + 1):
        one.record(created_at_ns=day * DAY_NS, model="a", bytes_out=7)
        await one.folded()
    found = await reading(one)
    assert list(found["by_day"]) == [iso(TODAY - back) for back in range(usage_days.DAYS)]
    assert found["by_model"]["a"]["requests"] == found["requests"] == days + 1
    assert found["by_model"]["a"]["bytes_out"] == 7 * (days + 1)
    kept = await one.core.database.read(lambda c: c.execute("SELECT count(*) FROM usage_days").fetchone()[0])
    assert kept == 2 * (usage_days.DAYS + 1)


async def test_models_beyond_those_that_are_counted_by_name_are_counted_together(
    one: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage_days, "MODELS_MAX", 2)
    for model in ("a", "b", "c", "a", "d", "", "x" * 300):
        one.record(model=model)
        await one.folded()
    found = (await reading(one))["by_model"]
    assert {name: each["requests"] for name, each in found.items()} == {"a": 2, "b": 1, "other": 4}


async def test_the_models_that_are_counted_by_name_stay_so_after_a_restart(
    one: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage_days, "MODELS_MAX", 1)
    one.record(model="a")
    await one.folded()
    again = usage_days.UsageDaysFold()
    await one.core.database.read(lambda connection: again(connection, []))
    assert (again._named("a"), again._named("b")) == ("a", "other")
