"""rateshield, costcap, promptslim and the monthly budget of a key, as the official SDK sees them."""

import asyncio
import tempfile
from pathlib import Path

import openai
import pytest

from instance.core.money import usd_to_nano
from instance.server import Instance, ServeOptions
from tests.mock_replies import Reply, chunks, delay, drop, status, text, thinking, tool
from tests.modules.conftest import Running, running
from tests.plain_http import NO_TLS

MESSAGES = [{"role": "user", "content": "Say something short about the weather."}]
PRICED = '[prices."up/small"]\nin_usd_per_mtok = 100\nout_usd_per_mtok = 100\n'
SLOW_CALL = tool("look", {"at": "x" * 500}, piece_delay_s=0.3)


async def outcomes(s: Running, count: int, **more: object) -> list[object]:
    client = s.sdk()
    return await asyncio.gather(
        *[client.chat.completions.create(model=s.model, messages=MESSAGES, **more) for _ in range(count)],  # type: ignore[call-overload]
        return_exceptions=True,
    )


async def test_of_thirty_calls_at_once_a_burst_passes_and_the_rest_is_told_when_to_come_back() -> None:
    limits = [{"by": "key", "requests": 60, "per": "minute", "burst": 10}]
    async with running({"rateshield": {"limits": limits}}) as s:
        results = await outcomes(s, 30)
        refused = [result for result in results if isinstance(result, openai.RateLimitError)]
        assert 10 <= 30 - len(refused) <= 12
        for error in refused:
            assert error.code == "rate_limited"
            assert int(error.response.headers["retry-after"]) >= 1
            assert error.response.headers["x-ratelimit-limit-requests"] == "60"
            assert error.response.headers["x-stockyard-module"] == "rateshield"
        assert len(s.mock.calls) == 30 - len(refused)


async def test_a_queue_lets_all_pass() -> None:
    limits = [{"by": "key", "requests": 40, "per": "second", "burst": 1}]
    async with running({"rateshield": {"limits": limits, "queue_s": 30}}) as s:
        results = await outcomes(s, 8)
        assert not [result for result in results if isinstance(result, BaseException)]
        assert len(s.mock.calls) == 8


async def test_slots_come_back_when_streams_end_and_when_callers_leave() -> None:
    settings = {"limits": [], "concurrency": [{"by": "key", "max": 1}]}
    async with running({"rateshield": settings}) as s:
        for leave in (False, True, False):
            stream = await s.sdk().chat.completions.create(model=s.model, messages=MESSAGES, stream=True)  # type: ignore[call-overload]
            async for _ in stream:
                if leave:
                    break
            await stream.close()
            async with asyncio.timeout(5):
                while not s.module("rateshield")._slots[0][1].free("1") or s.instance.chute.in_flight:
                    await asyncio.sleep(0.01)


async def test_parallel_calls_stay_within_the_budget_and_a_restart_forgets_nothing() -> None:
    async with running({"costcap": {"daily_limit_usd": 0.01}}, config=PRICED) as s:
        results = await outcomes(s, 50, max_tokens=5)
        refused = [result for result in results if isinstance(result, openai.RateLimitError)]
        assert 0 < len(refused) < 50
        for error in refused:
            assert error.code == "budget_exceeded"
            assert error.type == "insufficient_quota"
            assert int(error.response.headers["retry-after"]) >= 1
            assert error.response.headers["x-should-retry"] == "false"
        while not isinstance((await outcomes(s, 1, max_tokens=5))[0], openai.RateLimitError):
            pass
        await s.settled()
        spent = await s.instance.core.database.read(
            lambda c: c.execute("SELECT sum(cost_nano) FROM traces").fetchone()[0]
        )
        assert 0 < spent <= usd_to_nano("0.01")
        account = s.instance.chute.billing.accounts.get("costcap:day")
        assert account is not None
        assert (account.spent_nano, account.reserved_nano) == (spent, 0)
        s.instance.chute.billing.close_account("costcap:day")
        await s.configure({"costcap": False})
        await s.configure({"costcap": {"daily_limit_usd": 0.01}})
        again = s.instance.chute.billing.accounts.get("costcap:day")
        assert again is not None
        assert again is not account
        assert again.spent_nano == spent
        assert isinstance((await outcomes(s, 1, max_tokens=5))[0], openai.RateLimitError)


async def test_a_limit_is_still_used_up_after_a_restart() -> None:
    with tempfile.TemporaryDirectory(prefix="sy") as folder:
        file = Path(folder) / "test.toml"
        prices = '[prices."mock/gpt"]\nin_usd_per_mtok = 100\nout_usd_per_mtok = 100\n'
        file.write_text(f"{prices}[modules.costcap]\nenabled = true\ndaily_limit_usd = 0.005\n")
        options = ServeOptions(
            Path(folder) / "data", config=file, port=0, env={"STOCKYARD_ADMIN_KEY": "sy_admin_of-the-tests"}
        )
        key = ""
        passed = []
        for _ in range(2):
            instance = await Instance.open(options)
            try:
                root = await instance.listen()
                key = key or instance.core.first_keys.proxy  # type: ignore[union-attr]
                client = openai.AsyncOpenAI(
                    base_url=f"{root}/v1",
                    api_key=key,
                    max_retries=0,
                    http_client=openai.DefaultAsyncHttpxClient(verify=NO_TLS),
                )
                count = 0
                with pytest.raises(openai.RateLimitError):
                    while count < 100:
                        await client.chat.completions.create(model="mock/gpt", messages=MESSAGES, max_tokens=5)  # type: ignore[call-overload]
                        count += 1
                passed.append(count)
                await client.close()
            finally:
                await instance.close()
        assert passed[0] > 0
        assert passed[1] == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_what_a_call_cost_is_in_its_headers_its_trace_and_its_budget(stream: bool) -> None:
    async with running({"costcap": {"daily_limit_usd": 1}}, config=PRICED) as s:
        s.mock.script(text("sunny and warm", usage={"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}))
        answer = await s.chat(stream=stream)
        trace = await s.trace(answer.headers["x-stockyard-trace-id"])
        assert trace["cost_usd"] == 0.0015
        account = s.instance.chute.billing.accounts.get("costcap:day")
        assert account is not None
        assert (account.spent_nano, account.reserved_nano) == (1_500_000, 0)
        if not stream:
            assert answer.headers["x-stockyard-cost-usd"] == "0.001500000"
            assert answer.headers["x-stockyard-budget-left-usd"] == "0.998500000"


async def test_a_failed_call_costs_nothing_and_holds_nothing() -> None:
    async with running({"costcap": {"daily_limit_usd": 1}, "retry": False}, config=PRICED) as s:
        s.mock.script(status(500))
        assert (await s.chat()).status_code >= 500
        account = s.instance.chute.billing.accounts.get("costcap:day")
        assert account is not None
        assert (account.spent_nano, account.reserved_nano) == (0, 0)


async def test_a_budget_made_by_the_api_holds_for_the_next_call_and_knows_what_was_spent() -> None:
    async with running({"costcap": {}}, config=PRICED) as s:
        await s.chat(max_tokens=5)
        admin = s.http(s.admin_key)
        made = await admin.post("/api/billing/budgets", json={"name": "tiny", "limit_usd": 0.001, "period": "month"})
        assert made.status_code == 201, made.text
        row = made.json()
        assert row["id"].startswith("bud_")
        assert row["spent_usd"] > 0
        refused = await s.chat(max_tokens=5)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "budget_exceeded")
        changed = await admin.put(f"/api/billing/budgets/{row['id']}", json={"limit_usd": 5})
        assert changed.json()["limit_usd"] == 5
        assert (await s.chat(max_tokens=5)).status_code == 200
        listed = (await admin.get("/api/billing/budgets")).json()
        assert [budget["id"] for budget in listed["budgets"]] == [row["id"]]
        assert (await admin.delete(f"/api/billing/budgets/{row['id']}")).json()["status"] == "deleted"
        assert (await admin.get(f"/api/billing/budgets/{row['id']}")).status_code == 404
        assert (await admin.delete(f"/api/billing/budgets/{row['id']}")).status_code == 404


SENSELESS = (
    ({"name": "x", "limit_usd": 1}, "missing_field"),
    ({"name": "x", "limit_usd": -1, "period": "day"}, "invalid_value"),
    ({"name": "x", "limit_usd": 1, "period": "fortnight"}, "invalid_value"),
    ({"name": "x", "limit_usd": 1, "period": "day", "timezone": "Mars/Base"}, "invalid_value"),
    ({"name": "x", "limit_usd": 1, "period": "day", "limits": 3}, "unknown_field"),
)


async def test_a_budget_that_makes_no_sense_or_comes_without_its_scope_is_refused() -> None:
    async with running() as s:
        admin = s.http(s.admin_key)
        for body, code in SENSELESS:
            answer = await admin.post("/api/billing/budgets", json=body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (422, code)
        assert (await s.http().get("/api/billing/budgets")).status_code == 403


async def test_a_keys_monthly_budget_holds_with_every_module_off() -> None:
    async with running(only=True, config=PRICED) as s:
        for principal in s.instance.core.keys.principals():
            principal.budget_month_nano = usd_to_nano("0.0001")
        assert (await s.chat()).status_code == 200
        refused = await s.chat()
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "budget_exceeded")
        assert refused.headers["x-should-retry"] == "false"
        assert len(s.mock.calls) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_slimmer_prompt_reaches_the_provider_with_its_fence_intact(stream: bool) -> None:
    fence = "```python\ndef f(x):\n    if  x:\n\n\n\n        return  1\n```"
    paragraph = "The parser reads one record after the other and keeps nothing of what it read."
    prompt = f"Look:\n\n\n{paragraph}\n\n\n{fence}\n\n\n{paragraph}\n\n\n{paragraph}\n\n\nWhat is wrong?"
    async with running({"promptslim": {}}) as s:
        answer = await s.chat(prompt, stream=stream)
        sent = s.mock.calls[0].json()["messages"][0]["content"]
        assert fence in sent
        assert sent.count(paragraph) == 1
        assert len(sent) <= 0.8 * len(prompt)
        ((action, detail),) = await s.trail(answer.headers["x-stockyard-trace-id"], "promptslim")
        assert action == "slim"
        assert detail["after_tokens"] <= 0.8 * detail["before_tokens"]
        trace = await s.trace(answer.headers["x-stockyard-trace-id"])
        assert trace["measures"]["saved_tokens"] == detail["saved_tokens"] > 0
        await s.chat("Say hi to me now, will you?")
        assert s.mock.calls[1].json()["messages"][0]["content"] == "Say hi to me now, will you?"


async def test_parallel_calls_of_one_key_cannot_all_go_over_its_budget() -> None:
    async with running(only=True, config=PRICED) as s:
        for principal in s.instance.core.keys.principals():
            principal.budget_month_nano = usd_to_nano("0.001")
        s.mock.script(*[delay(2, "slow") for _ in range(20)])
        results = await outcomes(s, 20, max_tokens=5)
        assert sum(not isinstance(result, BaseException) for result in results) == 1
        accounts = s.instance.chute.billing.key_budgets._accounts.values()
        assert [account.reserved_nano for account in accounts] == [0]


async def test_the_caches_statistics_and_emptying() -> None:
    async with running({"cachelayer": {}}) as s:
        for _ in range(3):
            await s.chat("the same")
        admin = s.http(s.admin_key)
        stats = (await admin.get("/api/cache/stats")).json()
        assert (stats["entries"], stats["hit_rate"]) == (1, 0.6667)
        assert (await admin.delete("/api/cache?model=other")).json()["removed"] == 0
        assert (await admin.delete("/api/cache")).json() == {"status": "cleared", "removed": 1}
        assert (await s.chat("the same")).headers["x-stockyard-cache"] == "miss"
        assert (await s.http().delete("/api/cache")).status_code == 403


async def test_a_stream_that_outgrows_its_reservation_and_the_limit_is_ended_when_asked_for() -> None:
    settings = {"daily_limit_usd": 0.003, "cut_stream": True, "assume_output_tokens": 2}
    async with running({"costcap": settings}, config=PRICED) as s:
        s.mock.script(text("word " * 200))
        said = []
        with pytest.raises(openai.APIError) as caught:
            stream = await s.sdk().chat.completions.create(model=s.model, messages=MESSAGES, stream=True)  # type: ignore[call-overload]
            async for chunk in stream:
                said.append(chunk.choices[0].delta.content)
        assert caught.value.code == "budget_exceeded"
        assert 0 < len(said) < 100


async def test_a_stream_in_large_pieces_outgrows_its_reservation_as_one_in_small_ones() -> None:
    settings = {"daily_limit_usd": 0.003, "cut_stream": True, "assume_output_tokens": 2}
    async with running({"costcap": settings}, config=PRICED) as s:
        s.mock.script(chunks(["word " * 100, "end"], piece_delay_s=0.05))
        with pytest.raises(openai.APIError) as caught:
            stream = await s.sdk().chat.completions.create(model=s.model, messages=MESSAGES, stream=True)  # type: ignore[call-overload]
            async for _ in stream:
                pass
        assert caught.value.code == "budget_exceeded"


@pytest.mark.parametrize("reply", [thinking("hmm " * 100, "So.", piece_delay_s=0.005), SLOW_CALL])
async def test_reasoning_and_tool_calls_that_a_caller_left_are_paid_like_text(reply: Reply) -> None:
    async with running(config=PRICED) as s:
        s.mock.script(reply)
        seen = 0
        stream = await s.sdk().chat.completions.create(model=s.model, messages=MESSAGES, stream=True)  # type: ignore[call-overload]
        async for chunk in stream:
            for choice in chunk.choices:
                calls = choice.delta.tool_calls or ()
                seen += len(getattr(choice.delta, "reasoning_content", None) or "")
                seen += sum(len(call.function.arguments or "") for call in calls)
            if seen >= 200:
                break
        await stream.close()
        async with asyncio.timeout(5):
            while s.instance.chute.in_flight:
                await asyncio.sleep(0.01)
        (trace,) = await s.recent_traces(1)
        assert (trace["status"], trace["usage_source"]) == ("cancelled", "estimated")
        assert trace["tokens_out"] >= 200 // 4


async def test_an_image_in_a_body_is_not_counted_by_its_bytes_when_the_provider_reports_nothing() -> None:
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 400_000}},
    ]
    async with running(config=PRICED) as s:
        s.mock.script(drop(2, "one two three four"))
        with pytest.raises(openai.APIError):
            stream = await s.sdk().chat.completions.create(
                model=s.model,
                messages=[{"role": "user", "content": parts}],  # type: ignore[misc,list-item]
                stream=True,
            )
            async for _ in stream:
                pass
        (trace,) = await s.recent_traces(1)
        assert trace["usage_source"] == "estimated"
        assert 1000 < trace["tokens_in"] < 2000


@pytest.mark.parametrize("costcap", [True, False])
async def test_what_a_fallback_would_cost_is_reserved_too(costcap: bool) -> None:
    dear = PRICED + '[prices."up/large"]\nin_usd_per_mtok = 10000\nout_usd_per_mtok = 10000\n'
    chains = [{"match": "*small", "targets": ["up/large"]}]
    modules = {"fallbackrouter": {"chains": chains}, "retry": False, "circuitbreaker": False, "healthcheck": False}
    if costcap:
        modules["costcap"] = {"daily_limit_usd": 0.5}
    async with running(modules, config=dear) as s:
        if not costcap:
            for principal in s.instance.core.keys.principals():
                principal.budget_month_nano = usd_to_nano("0.5")
        for _ in range(10):
            s.mock.script(status(503), delay(0.05))
        results = await outcomes(s, 10, max_tokens=20)
        traces = await s.recent_traces(10)
        assert sum(trace["cost_usd"] for trace in traces) <= 0.5
        assert any(not isinstance(result, BaseException) for result in results)
        accounts = [*s.instance.chute.billing.accounts, *s.instance.chute.billing.key_budgets._accounts.values()]
        assert {account.reserved_nano for account in accounts} == {0}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/embeddings"])
async def test_users_that_bodies_name_are_told_apart(path: str) -> None:
    limits = {"limits": [{"by": "user", "requests": 1, "per": "hour"}]}
    bodies = {
        "/v1/chat/completions": lambda user: {"messages": MESSAGES, "user": user},
        "/v1/messages": lambda user: {"messages": MESSAGES, "max_tokens": 5, "metadata": {"user_id": user}},
        "/v1/responses": lambda user: {"input": "hi", "user": user},
        "/v1/embeddings": lambda user: {"input": "hi", "user": user},
    }
    async with running({"rateshield": limits}) as s:

        async def code(user: str, **headers: str) -> int:
            body = {"model": s.model, **bodies[path](user)}
            return (await s.http().post(path, json=body, headers=headers)).status_code

        assert [await code("ada"), await code("ada"), await code("bob"), await code("bob")] == [200, 429, 200, 429]
        assert await code("ada", **{"X-Stockyard-User": "eve"}) == 200, "a header goes before the body"
        traces = await s.recent_traces(5)
        assert [trace["user_id"] for trace in traces] == ["eve", "bob", "bob", "ada", "ada"]


async def test_a_cache_of_each_user_tells_users_that_bodies_name_apart() -> None:
    async with running({"cachelayer": {"scope": "user"}}) as s:
        kept = [(await s.chat(user=user)).headers["x-stockyard-cache"] for user in ("ada", "bob", "ada")]
        assert kept == ["miss", "miss", "hit"]
