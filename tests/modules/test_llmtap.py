import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from instance.chute.modules.observe.llmtap import FULL_MAX_BYTES, LLMTap
from instance.core.principals import Principal
from tests.mock_replies import delay, status, text
from tests.modules.conftest import running
from tests.modules.exchanges import core, exchange, whole


def llmtap(**settings: Any) -> LLMTap:
    return LLMTap(LLMTap.Settings(**settings))


def kept(module: LLMTap, **more: Any) -> int:
    x = exchange(**more)
    module.on_finish(x)
    limit: int = x.state.get("capture", 0)
    return limit


def test_texts_are_kept_cut_by_default() -> None:
    assert kept(llmtap()) == 16 << 10
    assert kept(llmtap(max_body_kb=2)) == 2048


def test_texts_are_kept_as_chosen() -> None:
    assert kept(llmtap(capture_bodies="none")) == 0
    assert kept(llmtap(capture_bodies="full")) == FULL_MAX_BYTES


async def test_a_hosted_instance_keeps_no_texts_until_the_customer_says_so() -> None:
    hosted = core()
    hosted.hosted = SimpleNamespace()
    silent, chosen = llmtap(), llmtap(capture_bodies="cut")
    await silent.start(hosted, None)
    await chosen.start(hosted, None)
    assert (kept(silent), kept(chosen)) == (0, 16 << 10)


def test_errors_are_kept_whatever_the_sampling() -> None:
    module = llmtap(body_sample_pct=0)
    assert kept(module) == 0
    assert kept(module, status="error") == 16 << 10


def test_a_request_may_ask_for_more_or_less_text_as_its_key_allows() -> None:
    def asked(what: bytes, scopes: tuple[str, ...], module: LLMTap) -> int:
        return kept(module, headers={b"x-stockyard-trace": what}, principal=Principal(1, "app", scopes))

    cut, none = llmtap(), llmtap(capture_bodies="none")
    assert asked(b"full", ("proxy:call", "content:read"), cut) == FULL_MAX_BYTES
    assert asked(b"full", ("proxy:call",), cut) == 16 << 10
    assert asked(b"meta", ("proxy:call", "content:opt_out"), cut) == 0
    assert asked(b"meta", ("proxy:call",), cut) == 16 << 10
    assert asked(b"full", ("content:read",), none) == 0


async def test_no_texts_are_kept_while_the_database_is_far_behind() -> None:
    module = llmtap()
    behind = core()
    behind.writer = SimpleNamespace(lag_bytes=1 << 30, write=_nothing)
    module._core = behind
    await module.tick()
    assert kept(module) == 0


async def _nothing(run: Any) -> bool:
    return False


def test_counts_are_those_of_the_calls() -> None:
    module = llmtap()
    for outcome in ("ok", "ok", "error", "blocked"):
        x = exchange(status=outcome, error_code="" if outcome == "ok" else "provider_error", answer=whole())
        x.usage.input, x.usage.output = 3, 4
        x.cost_lines = [("input", 10), ("output", 20)]
        module.on_finish(x)
    series = next(iter(module._tally.totals().values()))
    assert (series.calls, series.failed, series.errors) == (4, 1, {"provider_error": 2})
    assert (series.tokens_in, series.tokens_out, series.cost_nano) == (12, 16, 120)


async def test_percentiles_counts_and_error_rate_are_those_that_callers_saw() -> None:
    async with running({"retry": False}) as s:
        s.mock.script(*[delay(ms / 1000, "ok") for ms in range(1, 101)], *[status(500)] * 3)
        client = s.http()

        async def call() -> int:
            return (await client.post("/v1/chat/completions", json=s.body())).status_code

        codes = await asyncio.gather(*(call() for _ in range(103)))
        now_s = s.instance.core.clock.wall_ns() // 10**9
        total = await s.module("llmtap").between(now_s - 300, now_s + 60)
        assert (total.calls, total.failed, codes.count(502)) == (103, 3, 3)
        await s.settled()
        rows = await s.instance.core.database.read(_durations_and_tokens)
        assert len(rows) == 103
        for share in (0.5, 0.95):
            exact = sorted(duration for duration, _ in rows)[int(share * 102)]
            estimate = total.latency_us.quantile(share)
            assert estimate is not None and abs(estimate - exact) <= 0.05 * exact
        assert total.tokens_out == sum(tokens for _, tokens in rows)


async def test_a_day_for_which_texts_are_kept_is_scheduled_to_end() -> None:
    async with running({"retry": False}) as s:
        core, module = s.instance.core, s.module("llmtap")
        await module.tick()
        assert core.schedule.next_ns() is None
        before_ns = core.clock.wall_ns()
        await s.chat()
        await s.settled()
        await module.tick()
        due_ns = core.schedule.next_ns()
        assert due_ns is not None
        days = (due_ns - before_ns) / (86_400 * 10**9)
        assert 7 <= days < 7.01  # `body_days`; traces are kept for 30


def _durations_and_tokens(connection: Any) -> list[Any]:
    return connection.execute("SELECT duration_us, tokens_out FROM traces").fetchall()  # type: ignore[no-any-return]


async def test_statistics_survive_a_restart_of_the_module_and_are_written() -> None:
    async with running() as s:
        await s.chat()
        await s.configure({"llmtap": {"max_body_kb": 1}})
        await s.chat()
        await s.configure({"llmtap": False})
        registry = s.instance.chute.registry
        await registry.leaving.all_stopped()
        rows = await s.instance.core.database.read(
            lambda c: c.execute("SELECT sum(calls) FROM call_statistics").fetchone()
        )
        assert rows[0] == 2
        assert "metrics" not in s.instance.core.services


async def test_prometheus_reads_calls_tokens_and_modules() -> None:
    async with running() as s:
        s.mock.script(text('a "quoted" text'), status(400))
        await s.chat()
        await s.chat()
        lines = s.instance.core.services["metrics"]().splitlines()
        assert 'stockyard_requests_total{provider="up",model="small",status="ok",cache="off"} 1' in lines
        assert 'stockyard_requests_total{provider="up",model="small",status="error",cache="off"} 1' in lines
        assert 'stockyard_errors_total{provider="up",model="small",code="bad_request"} 1' in lines
        assert 'stockyard_request_seconds_count{provider="up",model="small"} 2' in lines
        assert any(
            line.startswith('stockyard_module_actions_total{module="llmtap",action="calls"} 2') for line in lines
        )
        names = {line.split()[2] for line in lines if line.startswith("# TYPE")}
        assert {
            "stockyard_tokens_total",
            "stockyard_cost_usd_total",
            "stockyard_ttft_seconds",
            "stockyard_overhead_seconds",
        } <= names


async def test_without_prometheus_there_is_nothing_to_read() -> None:
    async with running({"llmtap": {"prometheus": False}}) as s:
        assert "metrics" not in s.instance.core.services


@pytest.mark.parametrize(("choice", "request_kept"), [("none", False), ("cut", True)])
async def test_the_trace_holds_the_texts_that_were_to_be_kept(choice: str, request_kept: bool) -> None:
    async with running({"llmtap": {"capture_bodies": choice}}) as s:
        answer = await s.chat("remember me")
        trace = await s.trace(answer.headers["x-stockyard-trace-id"])
        assert (trace["request_body"] is not None) is request_kept
        assert (trace["response_body"] is not None) is request_kept


async def test_a_long_text_is_cut() -> None:
    async with running({"llmtap": {"max_body_kb": 1}}) as s:
        answer = await s.chat("x" * 5000)
        trace = await s.trace(answer.headers["x-stockyard-trace-id"])
        assert len(str(trace["request_body"])) <= 1100
