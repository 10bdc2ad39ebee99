"""usagepulse: what calls used is added up exactly, by any dimension, and capped."""

from __future__ import annotations

import asyncio
import csv
import io
import time
from collections.abc import Awaitable, Callable
from typing import Any

import openai
import orjson
import pytest

from instance.chute.modules.cost import usagepulse as usagepulse_module
from instance.chute.modules.cost.usage_buckets import OTHER, position
from instance.core.money import usd_to_nano
from tests.mock_replies import Reply, stall, status, text
from tests.modules.conftest import Running, running
from tests.modules.restarts import restarting
from tests.waiting import until

PRICES = '[prices."up/small"]\nin_usd_per_mtok = 0.15\nout_usd_per_mtok = 0.6\n'


async def call(s: Running, feature: str = "", content: str = "hi", **more: Any) -> Any:
    headers = {"X-Stockyard-Tags": f"feature={feature}"} if feature else {}
    return await s.sdk().chat.completions.create(**s.body(content), extra_headers=headers, **more)


async def usage(s: Running, group_by: str, **query: Any) -> list[dict[str, Any]]:
    answer = await s.http(s.admin_key).get("/api/billing/usage", params={"group_by": group_by, **query})
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()["usage"]
    return rows


def stopped(s: Running) -> Callable[[], Awaitable[bool]]:
    """Holds once what was switched off or replaced is stopped too, which it is after the last call of its time."""

    async def holds() -> bool:
        return not s.instance.chute.registry.leaving

    return holds


async def test_seven_calls_of_one_feature_and_three_of_another() -> None:
    async with running(config=PRICES) as s:
        tokens: dict[str, list[int]] = {"a": [0, 0], "b": [0, 0]}
        for number, feature in enumerate(["a"] * 7 + ["b"] * 3):
            made = await call(s, feature, "some words " * (number + 1))
            tokens[feature][0] += made.usage.prompt_tokens
            tokens[feature][1] += made.usage.completion_tokens
        rows = {row["tag:feature"]: row for row in await usage(s, "tag:feature,day")}
        assert {name: row["requests"] for name, row in rows.items()} == {"a": 7, "b": 3}
        assert {name: [row["tokens_in"], row["tokens_out"]] for name, row in rows.items()} == tokens
        traces = await s.recent_traces(10)
        for name, row in rows.items():
            costs = [usd_to_nano(trace["cost_usd"]) for trace in traces if trace["tags"]["feature"] == name]
            assert usd_to_nano(row["cost_usd"]) == sum(costs) > 0


async def test_streams_and_every_dimension_are_counted() -> None:
    async with running() as s:
        async for _ in await s.sdk().chat.completions.create(
            **s.body(), stream=True, extra_headers={"X-Stockyard-User": "ann", "X-Stockyard-Team": "blue"}
        ):
            pass
        s.mock.script(status(400))
        with pytest.raises(openai.BadRequestError):
            await call(s)
        await s.http().post("/v1/embeddings", json={"model": "up/large", "input": "x"})
        assert [(row["user"], row["requests"]) for row in await usage(s, "user")] == [("", 2), ("ann", 1)]
        assert [(row["team"], row["requests"]) for row in await usage(s, "team")] == [("", 2), ("blue", 1)]
        small, large = sorted(await usage(s, "model"), key=lambda row: -row["requests"])
        assert (small["model"], small["requests"], small["errors"]) == ("small", 2, 1)
        assert (large["model"], large["requests"], large["errors"]) == ("large", 1, 0)
        assert [row["provider"] for row in await usage(s, "provider")] == ["up"]
        (key,) = await usage(s, "key")
        assert key["requests"] == 3 and key["key"]


async def test_usage_that_no_provider_reported_is_marked() -> None:
    async with running() as s:
        body = {
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}]
        }
        s.mock.script(Reply(body=orjson.dumps(body)), text("reported"))
        await call(s)
        await call(s)
        (row,) = await usage(s, "model")
        assert (row["requests"], row["estimated"]) == (2, 1)


async def test_the_sixth_call_of_a_day_gets_429_and_others_go_on() -> None:
    cap = {"dimension": "feature", "value": "a", "period": "day", "requests": 5}
    async with running({"usagepulse": {"caps": [cap]}}) as s:
        for _ in range(5):
            await call(s, "a")
        with pytest.raises(openai.RateLimitError) as refused:
            await call(s, "a")
        error = refused.value
        assert error.code == "usage_cap"
        assert error.response.headers["x-should-retry"] == "false"
        assert 1 <= int(error.response.headers["retry-after"]) <= 86_400
        assert error.response.headers["x-stockyard-module"] == "usagepulse"
        await call(s, "b")
        await call(s)
        assert len(s.mock.calls) == 7
        (trace,) = [trace for trace in await s.recent_traces(8) if trace["status"] == "blocked"]
        trail = await s.trail(trace["id"], "usagepulse")
        assert trail[0] == ("cap", {"dimension": "tag:feature", "value": "a", "period": "day", "requests": 5})
        (row,) = await usage(s, "tag:feature", value="a")
        assert (row["requests"], row["blocked"]) == (6, 1)


async def test_calls_at_the_same_time_do_not_go_over_a_cap() -> None:
    cap = {"dimension": "key", "period": "day", "requests": 5}
    async with running({"usagepulse": {"caps": [cap]}}) as s:
        answers = await asyncio.gather(*(s.chat() for _ in range(12)))
        assert sorted(answer.status_code for answer in answers) == [200] * 5 + [429] * 7


async def test_a_cap_on_tokens_holds_once_they_are_used_and_each_value_has_its_own() -> None:
    cap = {"dimension": "user", "value": "*", "period": "month", "tokens": 10}
    async with running({"usagepulse": {"caps": [cap]}}) as s:
        for user in ("ann", "bob"):
            s.mock.script(text("x", usage={"prompt_tokens": 6, "completion_tokens": 4, "total_tokens": 10}))
            first = await s.chat(headers={"X-Stockyard-User": user})
            second = await s.chat(headers={"X-Stockyard-User": user})
            assert (first.status_code, second.status_code) == (200, 429)


async def test_calls_that_another_module_refuses_use_nothing_of_a_cap() -> None:
    cap = {"dimension": "key", "period": "day", "requests": 2}
    async with running({"usagepulse": {"caps": [cap]}, "ipfence": {"allow": ["203.0.113.9"]}}) as s:
        for _ in range(4):
            assert (await s.chat()).status_code == 403
        await s.configure({"ipfence": False})
        assert [(await s.chat()).status_code for _ in range(3)] == [200, 200, 429]


async def test_counts_survive_a_change_of_settings() -> None:
    cap = {"dimension": "key", "period": "day", "requests": 2}
    async with running({"usagepulse": {"caps": [cap]}}) as s:
        assert (await s.chat()).status_code == 200
        assert (await s.chat()).status_code == 200
        await s.configure({"usagepulse": {"caps": [{**cap, "requests": 3}], "max_values": 5}})
        assert [(await s.chat()).status_code for _ in range(2)] == [200, 429]
        (row,) = await usage(s, "key")
        assert row["requests"] == 4


async def test_each_cap_of_a_dimension_keeps_its_counts_when_another_is_changed() -> None:
    caps = [{"dimension": "user", "value": user, "period": "day", "requests": 2} for user in ("ada", "bob")]
    async with running({"usagepulse": {"caps": caps}}) as s:

        async def codes(user: str, count: int) -> list[int]:
            return [(await s.chat(headers={"X-Stockyard-User": user})).status_code for _ in range(count)]

        assert await codes("ada", 2) == await codes("eve", 2) == [200, 200]
        await s.configure({"usagepulse": {"caps": [caps[0], {**caps[1], "requests": 1}]}})
        assert await codes("ada", 1) == [429]
        assert await codes("bob", 2) == [200, 429]
        await s.configure({"usagepulse": {"caps": [{**caps[0], "value": "*"}]}})
        assert await codes("eve", 1) == [429], "who was not counted before"


async def test_a_new_cap_counts_calls_that_were_not_in_the_database_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as s:
        writer = s.instance.core.writer
        fold_until = writer._fold_until

        def slow(sequence: int) -> bool:
            time.sleep(0.3)
            return fold_until(sequence)

        monkeypatch.setattr(writer, "_fold_until", slow)
        for _ in range(2):
            assert (await s.chat(headers={"X-Stockyard-User": "eve"})).status_code == 200
        await s.configure({"usagepulse": {"caps": [{"dimension": "user", "period": "day", "requests": 2}]}})
        assert (await s.chat(headers={"X-Stockyard-User": "eve"})).status_code == 429


async def test_caps_and_sums_survive_a_restart() -> None:
    settings = {"usagepulse": {"caps": [{"dimension": "key", "period": "day", "requests": 3}]}}
    async with restarting() as starts:
        body = {"model": "up/small", "messages": [{"role": "user", "content": "hi"}]}
        async with starts.started(settings) as http:
            for _ in range(2):
                assert (await http.post("/v1/chat/completions", json=body)).status_code == 200
        async with starts.started() as http:
            answers = [(await http.post("/v1/chat/completions", json=body)).status_code for _ in range(2)]
            assert answers == [200, 429]


async def test_a_crash_neither_loses_nor_doubles_a_call() -> None:
    async with running() as s:
        await call(s)
        await s.settled()
        module = s.module("usagepulse")
        await module.catch_up()
        await call(s)
        await s.settled()

        def as_after_a_crash(connection: Any) -> None:
            n, active = position(connection)
            assert (n, active) == (1, True)

        await s.instance.core.database.read(as_after_a_crash)
        again = usagepulse_module.UsagePulse(module.settings)
        module._replaced = True  # the old one is gone as if killed
        await again.start(s.instance.core, None)
        (row,) = await usage(s, "model")
        assert row["requests"] == 2
        # A sum that was under way when its task was cancelled is not added again.
        again._position, again._counted_sequence = 1, -1
        await again.catch_up()
        (row,) = await usage(s, "model")
        assert row["requests"] == 2


async def test_calls_made_while_it_is_off_are_not_counted() -> None:
    async with running() as s:
        await call(s)
        await s.configure({"usagepulse": False})
        await until(stopped(s))
        await call(s)
        await s.settled()
        await s.configure({"usagepulse": True})
        await call(s)
        (row,) = await usage(s, "model")
        assert row["requests"] == 2


async def test_switched_on_again_while_a_call_from_before_runs_it_counts_every_call_once() -> None:
    async with running() as s:
        s.mock.script(stall(1))
        stream = await s.sdk().chat.completions.create(**s.body(), stream=True)
        await s.configure({"usagepulse": False})
        await s.configure({"usagepulse": True})
        assert s.instance.chute.registry.leaving
        await stream.close()
        await until(stopped(s))
        await call(s)
        (row,) = await usage(s, "model")
        assert row["requests"] == 2

        def is_marked_as_on(connection: Any) -> bool:
            return position(connection)[1]

        assert await s.instance.core.database.read(is_marked_as_on)


async def test_only_models_and_teams_of_the_settings_are_metered() -> None:
    async with running({"usagepulse": {"models": ["*large"]}}) as s:
        await call(s)
        await s.chat(model="up/large")
        assert [row["model"] for row in await usage(s, "model")] == ["large"]


async def test_values_beyond_the_most_of_a_day_count_as_other() -> None:
    async with running({"usagepulse": {"max_values": 3}}) as s:
        for number in range(6):
            await s.chat(headers={"X-Stockyard-User": f"user{number}"})
        rows = {row["user"]: row["requests"] for row in await usage(s, "user")}
        assert rows == {"user0": 1, "user1": 1, "user2": 1, OTHER: 3}


async def test_exports_have_one_row_for_each_period_and_value() -> None:
    async with running(config=PRICES) as s:
        await call(s, "a")
        await call(s, "=cmd()")
        for unit in ("minute", "hour", "day"):
            asked = {"group_by": f"feature,{unit}"}
            lines = await s.http(s.admin_key).get("/api/billing/usage", params={**asked, "format": "ndjson"})
            rows = [orjson.loads(line) for line in lines.text.splitlines()]
            assert [(row["tag:feature"], row["requests"]) for row in rows] == [("=cmd()", 1), ("a", 1)]
            assert all(row[unit] == rows[0][unit] for row in rows)
            table = await s.http(s.admin_key).get("/api/billing/usage", params={**asked, "format": "csv"})
            cells = list(csv.DictReader(io.StringIO(table.text)))
            assert [(cell["feature"], cell["requests"]) for cell in cells] == [("'=cmd()", "1"), ("a", "1")]
            assert float(cells[1]["cost_usd"]) == rows[1]["cost_usd"] > 0


async def test_an_export_goes_on_over_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("instance.chute.usage_export.PAGE_ROWS", 2)
    async with running() as s:
        for number in range(5):
            await s.chat(headers={"X-Stockyard-User": f"user{number}"})
        for group_by in ("user", "user,day"):
            lines = await s.http(s.admin_key).get(
                "/api/billing/usage", params={"group_by": group_by, "format": "ndjson"}
            )
            assert [orjson.loads(line)["user"] for line in lines.text.splitlines()] == [f"user{n}" for n in range(5)]


async def test_old_buckets_go_and_coarser_ones_stay() -> None:
    async with running({"usagepulse": {"keep_minute_days": 1, "keep_hour_days": 2}}) as s:
        await call(s)
        await usage(s, "model")

        def make_old(connection: Any) -> None:
            connection.execute("UPDATE usage_buckets SET start_s = start_s - 5 * 86400")

        await s.instance.core.writer.write(make_old)
        await s.module("usagepulse").tick()
        left = await s.instance.core.database.read(
            lambda connection: connection.execute("SELECT DISTINCT resolution_s FROM usage_buckets").fetchall()
        )
        assert left == [(86_400,)]


async def test_a_table_of_calls_that_was_emptied_is_counted_from_its_start_again() -> None:
    async with running() as s:
        for _ in range(3):
            await call(s)
        await usage(s, "model")

        def empty(connection: Any) -> None:
            connection.execute("DELETE FROM traces")
            connection.execute("DELETE FROM trace_bodies")

        await s.instance.core.writer.write(empty)
        await call(s)
        (row,) = await usage(s, "model")
        assert row["requests"] == 4


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"caps": [{"dimension": "teem", "period": "day", "requests": 1}]}, "config"),
        ({"caps": [{"dimension": "team", "period": "day"}]}, "config.caps.0"),
        ({"caps": [{"dimension": "team", "period": "year", "requests": 1}]}, "config.caps.0.period"),
        ({"dimensions": ["colour"]}, "config.dimensions.0"),
        ({"keep_minute_days": 100}, "config"),
    ],
)
async def test_settings_that_cannot_be_are_refused_and_the_module_goes_on(settings: Any, where: str) -> None:
    async with running() as s:
        answer = await s.http(s.admin_key).put("/api/proxy/modules/usagepulse", json={"config": settings})
        assert answer.status_code == 422
        assert answer.json()["error"]["param"].startswith(where)
        assert (await s.chat()).status_code == 200


async def test_what_cannot_be_asked_is_refused() -> None:
    async with running() as s:
        for group_by in ("colour", "team,user", "day", "model,day,hour"):
            answer = await s.http(s.admin_key).get("/api/billing/usage", params={"group_by": group_by})
            assert (answer.status_code, answer.json()["error"]["param"]) == (422, "group_by")


async def test_without_caps_a_call_costs_nothing() -> None:
    async with running() as s:
        assert s.module("usagepulse").hooks() == ()
