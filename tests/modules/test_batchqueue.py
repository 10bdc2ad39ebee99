"""batchqueue over HTTP: calls that wait, who is next, what is tried again, and what outlives the process."""

import asyncio
import hmac
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from instance.forge.adaptive import MINUTE_NS, AdaptiveLimit
from instance.forge.fair_queue import FairQueue, Waiting
from instance.forge.queue_settings import QueueSettings, read_window
from tests.mock_replies import Reply, delay, status, text
from tests.mock_upstream import MockUpstream, until
from tests.modules.conftest import Running, running
from tests.modules.restarts import restarting

BATCH = "/api/forge/batch"
ASYNC = {"X-Stockyard-Async": "true"}


async def ended(http: httpx2.AsyncClient, batch_id: str, deadline_s: float = 20) -> dict[str, Any]:
    """The batch, once it has ended."""
    async with asyncio.timeout(deadline_s):
        while True:
            answer = await http.get(f"{BATCH}/{batch_id}")
            assert answer.status_code == 200, answer.text
            found: dict[str, Any] = answer.json()
            if found["completed_at"]:
                return found
            await asyncio.sleep(0.02)


async def results(http: httpx2.AsyncClient, batch_id: str) -> dict[str, dict[str, Any]]:
    """Lines of the results by custom_id; each is there once."""
    answer = await http.get(f"{BATCH}/{batch_id}/results")
    lines = [orjson.loads(line) for line in answer.text.splitlines()]
    found = {line["custom_id"]: line for line in lines}
    assert len(found) == len(lines)
    return found


def requests(count: int, model: str = "up/small") -> list[dict[str, Any]]:
    return [
        {"custom_id": f"c{n}", "body": {"model": model, "messages": [{"role": "user", "content": f"job {n}"}]}}
        for n in range(count)
    ]


async def submitted(s: Running, wanted: list[dict[str, Any]], **more: Any) -> str:
    answer = await s.http(s.admin_key).post(BATCH, json={"requests": wanted, **more})
    assert answer.status_code == 202, answer.text
    assert answer.json()["total"] == len(wanted)
    batch_id: str = answer.json()["id"]
    return batch_id


def said(line: dict[str, Any]) -> str:
    content: str = line["response"]["choices"][0]["message"]["content"]
    return content


async def test_twenty_calls_one_of_them_invalid() -> None:
    async with running({"batchqueue": True}) as s:
        s.mock.script(*[delay(0.02) for _ in range(19)])
        wanted = requests(20)
        wanted[7]["body"]["messages"] = "none"
        http = s.http(s.admin_key)
        batch_id = await submitted(s, wanted)
        batch = await ended(http, batch_id)
        assert (batch["status"], batch["done"], batch["failed"]) == ("done", 19, 1)
        found = await results(http, batch_id)
        assert len(found) == 20
        for n in range(20):
            line = found[f"c{n}"]
            if n == 7:
                assert (line["status"], line["error"]["code"]) == ("failed", "bad_request")
            else:
                assert (line["status"], said(line)) == ("done", f"echo: job {n}")
                assert line["trace_id"].startswith("tr_")
        assert len(s.mock.calls) == 19
        trace = await s.trace(found["c0"]["trace_id"])
        assert (trace["source"], trace["tags"]["batch"]) == ("batch", "true")
        ((action, detail),) = await s.trail(trace["id"], "batchqueue")
        assert (action, detail["id"], detail["attempt"]) == ("job", batch_id, 1)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_single_call_gets_its_id_and_later_the_answer_of_a_direct_call(stream: bool) -> None:
    async with running({"batchqueue": True}) as s:
        create: Any = s.sdk().chat.completions.with_raw_response.create
        ask = {"model": s.model, "messages": [{"role": "user", "content": "hi"}], "stream": stream}
        raw = await create(**ask, extra_headers={**ASYNC, "X-Stockyard-Project": "barn"})
        assert raw.status_code == 202
        told = orjson.loads(raw.content if not stream else await raw.http_response.aread())
        assert told["status"] == "queued"
        batch = await ended(s.http(), told["id"])
        direct = await s.chat()
        output = batch["output"]
        assert output["choices"] == direct.json()["choices"]
        assert output["usage"] == direct.json()["usage"]
        assert s.mock.calls[0].json().get("stream") in (None, False)
        trace = await s.trace(batch["trace_id"])
        assert (trace["project"], trace["key_name"]) == (
            "barn",
            (await s.trace(direct.headers["x-stockyard-trace-id"]))["key_name"],
        )
        assert (await s.chat()).status_code == 200


async def test_the_body_may_ask_for_it_and_another_key_does_not_see_it() -> None:
    async with running({"batchqueue": True}) as s:
        made = await s.chat(_async=True, _priority="high")
        assert made.status_code == 202
        batch = await ended(s.http(), made.json()["id"])
        assert not [name for name in s.mock.calls[0].json() if name.startswith("_")]
        other = await s.http(s.admin_key).post("/api/auth/me/keys", json={"name": "two", "kind": "proxy"})
        stranger = s.http(other.json()["key"])
        assert (await stranger.get(f"{BATCH}/{batch['id']}")).status_code == 404
        assert (await stranger.get(BATCH)).json()["count"] == 0
        assert (await s.http(s.admin_key).get(BATCH)).json()["jobs"][0]["id"] == batch["id"]


async def test_no_more_run_at_once_than_may() -> None:
    async with running({"batchqueue": {"concurrency": 4}}) as s:
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, s.instance.chute.in_flight)
                await asyncio.sleep(0.002)

        watching = asyncio.create_task(watch())
        s.mock.script(*[delay(0.03) for _ in range(24)])
        batch_id = await submitted(s, requests(24), concurrency=10)
        await ended(s.http(s.admin_key), batch_id)
        watching.cancel()
        assert most == 4
        await s.configure({"batchqueue": {"per_provider": {"up": 1}}})
        most = 0
        watching = asyncio.create_task(watch())
        s.mock.script(*[delay(0.02) for _ in range(6)])
        await ended(s.http(s.admin_key), await submitted(s, requests(6)))
        watching.cancel()
        assert most == 1


async def test_what_may_pass_is_tried_again_and_what_will_not_is_not() -> None:
    async with running({"batchqueue": {"concurrency": 1}, "retry": False}) as s:
        s.mock.script(status(503), text("second"), status(400, "no"), status(503), status(503), status(503))
        batch_id = await submitted(s, requests(3), max_attempts=2)
        await ended(s.http(s.admin_key), batch_id)
        found = await results(s.http(s.admin_key), batch_id)
        assert [line["status"] for line in found.values()].count("done") >= 1
        codes = [line["error"]["code"] for line in found.values() if line["status"] == "failed"]
        assert "bad_request" in codes
        assert 4 <= len(s.mock.calls) <= 5


async def test_a_limit_of_the_provider_makes_it_slower() -> None:
    limit = AdaptiveLimit(8, 0)
    limit.too_much(0)
    assert limit.limit(0) == 4
    limit.too_much(0)
    assert limit.limit(MINUTE_NS - 1) == 2
    assert limit.limit(3 * MINUTE_NS) == 5
    assert limit.limit(99 * MINUTE_NS) == 8
    async with running({"batchqueue": {"concurrency": 4}, "retry": False, "fallbackrouter": False}) as s:
        s.mock.script(status(429, retry_after_s=0), *[text("ok") for _ in range(3)])
        batch_id = await submitted(s, requests(2))
        batch = await ended(s.http(s.admin_key), batch_id)
        assert (batch["done"], batch["attempts"]) == (2, 2)
        assert s.instance.forge.runner is not None
        assert s.instance.forge.runner._limit.now == 2


def test_shares_are_fair_and_nobody_starves() -> None:
    queue = FairQueue({"high": 8, "normal": 3, "low": 1})
    for n in range(400):
        for team, priority in (("a", 1), ("b", 0), ("c", -1)):
            queue.add((team, priority), Waiting(team, n, "", 0))
    first = [queue.take(lambda lane, job: True) for _ in range(120)]
    started = {team: sum(job is not None and job.batch_id == team for job in first) for team in "abc"}
    assert started == {"a": 80, "b": 30, "c": 10}
    queue.add(("late", 0), Waiting("late", 0, "", 0))
    soon = [queue.take(lambda lane, job: True) for _ in range(12)]
    assert any(job is not None and job.batch_id == "late" for job in soon)
    assert queue.drop("a") > 0
    blocked = queue.take(lambda lane, job: job.batch_id == "c")
    assert blocked is not None and blocked.batch_id == "c"


def test_a_window_may_go_over_midnight() -> None:
    night = QueueSettings(window=read_window("22:00-06:00"))
    hour = 3_600 * 10**9
    assert [night.is_open(n * hour) for n in (21, 22, 23, 24, 29, 30, 35)] == [
        False,
        True,
        True,
        True,
        True,
        False,
        False,
    ]
    assert QueueSettings().is_open(0)
    for text_ in ("22", "25:00-06:00", "a-b"):
        with pytest.raises(ValueError, match="write"):
            read_window(text_)


async def test_lines_of_json_are_taken_and_a_bad_one_is_named() -> None:
    async with running({"batchqueue": True}) as s:
        http = s.http(s.admin_key)
        kind = {"content-type": "application/x-ndjson"}
        good = b"\n".join(
            orjson.dumps({**each, "method": "POST", "url": "/v1/chat/completions"}) for each in requests(3)
        )
        answer = await http.post(f"{BATCH}?priority=high", content=good, headers=kind)
        assert answer.status_code == 202, answer.text
        batch = await ended(http, answer.json()["id"])
        assert (batch["done"], batch["priority"]) == (3, "high")
        for bad, line in ((b"{}\n", 1), (good + b"\n{nonsense", 4), (good + b"\n" + good, 4)):
            answer = await http.post(BATCH, content=bad, headers=kind)
            error = answer.json()["error"]
            assert (answer.status_code, error["code"], error["details"]["line"]) == (400, "batch_invalid_line", line)


async def test_limits_of_the_queue() -> None:
    async with running({"batchqueue": {"max_jobs": 5, "max_body_kb": 1, "window": closed_now()}}) as s:
        http = s.http(s.admin_key)
        large = requests(1)
        large[0]["body"]["messages"][0]["content"] = "x" * 2000
        assert (await http.post(BATCH, json={"requests": large})).json()["error"]["code"] == "batch_too_large"
        await submitted(s, requests(5))
        full = await http.post(BATCH, json={"requests": requests(1)})
        assert (full.status_code, full.json()["error"]["code"]) == (429, "queue_full")
        assert int(full.headers["retry-after"]) > 0
        assert (await s.chat(headers=ASYNC)).status_code == 429
        assert (await s.chat()).status_code == 200
        assert (await http.post(BATCH, json={"requests": []})).status_code == 422
        assert (await s.http().post(BATCH, json={"requests": requests(1)})).status_code == 403
        assert len(s.mock.calls) == 1  # outside of the window nothing starts


def closed_now() -> str:
    """A window of the queue in which it is not now."""
    from time import gmtime

    hour = (gmtime().tm_hour + 6) % 24
    return f"{hour:02d}:00-{(hour + 1) % 24:02d}:00"


async def test_a_batch_is_paused_resumed_cancelled_and_deleted() -> None:
    async with running({"batchqueue": {"concurrency": 1}}) as s:
        http = s.http(s.admin_key)
        s.mock.script(*[delay(0.05) for _ in range(30)])
        batch_id = await submitted(s, requests(10))
        await until(lambda: len(s.mock.calls) >= 1)
        assert (await http.post(f"{BATCH}/{batch_id}/pause")).json()["status"] == "paused"
        await until(lambda: s.instance.chute.in_flight == 0)
        before = len(s.mock.calls)
        await asyncio.sleep(0.1)
        assert len(s.mock.calls) == before < 10
        await http.post(f"{BATCH}/{batch_id}/resume")
        await until(lambda: len(s.mock.calls) > before)
        assert (await http.post(f"{BATCH}/{batch_id}/cancel")).status_code == 200
        batch = await ended(http, batch_id)
        assert batch["status"] == "cancelled"
        found = await results(http, batch_id)
        assert len(found) == 10
        assert {line["status"] for line in found.values()} <= {"done", "cancelled"}
        assert (await http.post(f"{BATCH}/{batch_id}/cancel")).status_code == 409
        assert (await http.delete(f"{BATCH}/{batch_id}")).status_code == 200
        assert (await http.get(f"{BATCH}/{batch_id}")).status_code == 404


async def test_a_ceiling_in_dollars_ends_a_batch() -> None:
    prices = '[prices."up/small"]\nin_usd_per_mtok = 1000\nout_usd_per_mtok = 1000\n'
    usage = {"prompt_tokens": 500, "completion_tokens": 500, "total_tokens": 1000}
    async with running({"batchqueue": {"concurrency": 1}}, config=prices) as s:
        s.mock.script(*[Reply(text="ok", usage=usage) for _ in range(5)])
        batch_id = await submitted(s, requests(5), max_cost_usd=2)
        batch = await ended(s.http(s.admin_key), batch_id)
        assert (batch["done"], batch["failed"], batch["cost_usd"]) == (2, 3, 2.0)
        codes = {
            line["error"]["code"] for line in (await results(s.http(s.admin_key), batch_id)).values() if "error" in line
        }
        assert codes == {"budget_exceeded"}


async def test_whoever_asked_is_told_of_the_end_and_can_check_who_says_so() -> None:
    async with running({"batchqueue": True}) as s, MockUpstream() as web:
        web.script(Reply(body=b"ok"))
        answer = await s.http(s.admin_key).post(
            BATCH, json={"input": requests(1)[0]["body"], "callback_url": f"{web.root}/done"}
        )
        made = answer.json()
        await until(lambda: len(web.calls) == 1)
        call = web.calls[0]
        told = call.json()
        assert (told["event"], told["id"], told["done"]) == ("batch.completed", made["id"], 1)
        expected = hmac.new(made["callback_secret"].encode(), call.body, "sha256").hexdigest()
        assert call.headers["x-stockyard-signature"] == f"sha256={expected}"
        bad = await s.http(s.admin_key).post(BATCH, json={"requests": requests(1), "callback_url": "ftp://x"})
        assert (bad.status_code, bad.json()["error"]["param"]) == (422, "callback_url")


async def test_jobs_pass_every_group_but_admission_and_a_revoked_key_ends_them() -> None:
    modules = {
        "batchqueue": {"concurrency": 1},
        "rateshield": {"limits": [{"by": "key", "requests": 1, "per": "day", "burst": 1}]},
        "secretscan": {"action": "redact"},
    }
    async with running(modules) as s:
        made = await s.chat("my key is AKIA" + "Q3EGYT7Y4ZPLQ2WA", headers=ASYNC)
        assert made.status_code == 202
        batch = await ended(s.http(), made.json()["id"])
        assert "[SECRET:" in batch["output"]["choices"][0]["message"]["content"]
        assert (await s.chat()).status_code == 429
        wanted = requests(2)
        batch = await ended(s.http(s.admin_key), await submitted(s, wanted))
        assert batch["done"] == 2


async def test_off_nothing_is_taken_and_what_waits_outlives_a_restart() -> None:
    async with restarting() as starts:
        async with starts.started({"batchqueue": {"window": closed_now()}}) as http:
            body = {"model": "up/small", "messages": [{"role": "user", "content": "hi"}]}
            made = await http.post("/v1/chat/completions", json=body, headers=ASYNC)
            batch_id = made.json()["id"]
            assert (await http.get(f"{BATCH}/{batch_id}")).json()["status"] == "queued"
        async with starts.started({"batchqueue": {"window": ""}}) as http:
            assert (await ended(http, batch_id))["output"]["choices"]
        async with starts.started() as http:
            assert (await http.get(f"{BATCH}/{batch_id}")).json()["done"] == 1


async def test_what_cannot_be_is_refused_and_switched_off_it_says_so() -> None:
    async with running({"batchqueue": True}) as s:
        for field, value in (("window", "late"), ("weights", {"urgent": 3}), ("concurrency", 0)):
            bad = await s.http(s.admin_key).put("/api/proxy/modules/batchqueue", json={"config": {field: value}})
            assert (bad.status_code, field in bad.json()["error"]["param"]) == (422, True)
        assert (await s.http(s.admin_key).get("/api/forge/status")).json()["status"] == "ok"
        await s.configure({"batchqueue": False})
        off = await s.http(s.admin_key).post(BATCH, json={"requests": requests(1)})
        assert (off.status_code, off.json()["error"]["code"]) == (409, "conflict")
        assert (await s.chat(headers=ASYNC)).status_code == 200


async def test_kill_9_midway_loses_no_job_and_gives_none_two_results() -> None:
    key = "sy_admin_" + "k" * 43
    env = {"PATH": os.environ["PATH"], "STOCKYARD_ADMIN_KEY": key}
    with tempfile.TemporaryDirectory(prefix="sy") as folder_name:
        async with MockUpstream() as mock:
            folder = Path(folder_name)
            config = folder / "stockyard.toml"
            config.write_text(
                f'[providers.up]\nbase_url = "{mock.url}"\napi_key = "k-of-up-123456"\nmodels = ["small"]\n'
                "[modules.batchqueue]\nenabled = true\nconcurrency = 4\n"
            )
            socket, data = folder / "s.sock", folder / "data"
            command = [sys.executable, "-m", "instance.cli", "serve", "--uds", str(socket), "--data", str(data)]
            command += ["--config", str(config)]
            transport = httpx2.AsyncHTTPTransport(uds=str(socket), verify=False)
            async with httpx2.AsyncClient(
                transport=transport, base_url="http://instance", headers={"authorization": f"Bearer {key}"}, timeout=30
            ) as http:
                process = _start(command, env)
                try:
                    await _ready(http, process)
                    mock.script(*[delay(0.05) for _ in range(60)])
                    made = await http.post(BATCH, json={"requests": requests(30)})
                    batch_id = made.json()["id"]
                    await until(lambda: len(mock.calls) >= 10)
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                    process = _start(command, env)
                    await _ready(http, process)
                    batch = await ended(http, batch_id)
                    assert (batch["done"], batch["failed"], batch["total"]) == (30, 0, 30)
                    found = await results(http, batch_id)
                    assert [said(found[f"c{n}"]) for n in range(30)] == [f"echo: job {n}" for n in range(30)]
                    assert 30 <= len(mock.calls) <= 34
                finally:
                    process.kill()
                    process.wait()


def _start(command: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, env=env)


async def _ready(http: httpx2.AsyncClient, process: subprocess.Popen[bytes]) -> None:
    async with asyncio.timeout(30):
        while True:
            assert process.poll() is None
            try:
                if (await http.get("/ready")).status_code == 200:
                    return
            except httpx2.TransportError:
                pass
            await asyncio.sleep(0.02)


async def test_jobs_that_wait_keep_a_hosted_instance_awake_or_have_it_woken_when_their_window_opens() -> None:
    async with running({"batchqueue": {"concurrency": 1}}) as s:
        core = s.instance.core
        assert core.schedule.get("batches") is None
        s.mock.script(delay(0.2), delay(0.2))
        batch_id = await submitted(s, requests(3))
        await until(lambda: core.schedule.get("batches"))
        at_ns = core.schedule.next_ns()
        assert at_ns is not None and at_ns <= core.clock.wall_ns()
        await ended(s.http(s.admin_key), batch_id)
        await until(lambda: core.schedule.get("batches") is None)
        await s.configure({"batchqueue": {"window": closed_now()}})
        waiting = await submitted(s, requests(1))
        await until(lambda: core.schedule.get("batches"))
        opens_ns = core.schedule.next_ns()
        assert opens_ns is not None and 0 < opens_ns - core.clock.wall_ns() < 24 * 3600 * 10**9
        assert s.module("batchqueue").report()["queued"] == 1
        assert (await s.http(s.admin_key).post(f"{BATCH}/{waiting}/pause")).is_success
        await until(lambda: core.schedule.get("batches") is None)


def test_the_time_at_which_a_window_opens() -> None:
    night = QueueSettings(window=read_window("22:00-06:00"))
    hour = 3600 * 10**9
    assert night.opens_ns(12 * hour + 17) == 22 * hour
    assert night.opens_ns(23 * hour + 17) == 23 * hour + 17
    day = QueueSettings(window=read_window("09:30-17:00"))
    assert day.opens_ns(18 * hour) == (24 + 9) * hour + hour // 2
    assert QueueSettings().opens_ns(5) == 5
