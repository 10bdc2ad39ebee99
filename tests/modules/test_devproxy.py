"""devproxy over HTTP: what a developer sees of a call, for how long, and what is never shown."""

import asyncio
from typing import Any

import openai
import pytest

from instance.chute.modules.exchange.json_changes import json_changes
from tests.mock_replies import Reply, chunks, status, text
from tests.mock_upstream import until
from tests.modules.conftest import UPSTREAM_KEY, Running, running

PAGE = "/api/proxy/modules/devproxy"
DEBUG = {"X-Stockyard-Debug": "1"}
ALIASED = {
    "modelalias": {"aliases": [{"alias": "fast", "target": "up/small"}]},
    "promptslim": True,
    "devproxy": True,
}
LONG = "Tell  me   about   cows.\n\n\n\n\nPlease   do.   \n\n\n\n" * 5
SECRET = "AKIA" + "Q3EGYT7Y4ZPLQ2WA"


async def view(s: Running, trace_id: str, key: str = "") -> dict[str, Any]:
    answer = await s.http(key or s.admin_key).get(f"{PAGE}/calls/{trace_id}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def listed(s: Running, key: str = "") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (await s.http(key or s.admin_key).get(f"{PAGE}/calls")).json()["calls"]
    return rows


def test_changes_are_told_by_their_place() -> None:
    before = {"a": 1, "b": [1, {"c": 2}], "gone": True}
    after = {"a": 1, "b": [1, {"c": 3}, 4], "new/er": None}
    assert json_changes(before, after) == [
        {"path": "/b/1/c", "before": 2, "after": 3},
        {"path": "/b/2", "after": 4},
        {"path": "/gone", "before": True},
        {"path": "/new~1er", "after": None},
    ]
    assert json_changes(before, before) == []


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_shows_who_changed_it_what_was_sent_and_how_long_each_took(stream: bool) -> None:
    async with running(ALIASED) as s:
        s.mock.script(text("Cows eat grass."))
        with_raw = s.sdk().chat.completions.with_raw_response
        raw: Any = await with_raw.create(
            model="fast", messages=[{"role": "user", "content": LONG}], stream=stream, extra_headers=DEBUG
        )
        if stream:
            said = [chunk async for chunk in raw.parse()]
            assert said
        names = [part.partition(";")[0] for part in raw.headers["server-timing"].split(", ")]
        assert {"modelalias", "promptslim", "upstream", "total"} <= set(names)
        trace_id = raw.headers["x-stockyard-trace-id"]
        await until(lambda: s.instance.chute.in_flight == 0)
        shown = await view(s, trace_id)
        assert [diff["module"] for diff in shown["diffs"]] == ["modelalias", "promptslim"]
        (first, second) = shown["diffs"]
        assert [change["after"] for change in first["changes"]] == ["up/small"]
        assert second["changes"][0]["path"] == "/request/messages/0/content"
        assert len(second["changes"][0]["after"]) < len(LONG)
        (attempt,) = shown["attempts"]
        assert attempt["request"]["body"]["model"] == "small"
        assert attempt["request"]["body"] == s.mock.calls[0].json()
        assert shown["request"]["body"]["model"] == "fast"
        assert shown["request"]["headers"]["authorization"] == "[masked]"
        if stream:
            said_live = [d["data"]["choices"][0]["delta"].get("content") or "" for d in shown["answer"]["deltas"]]
            assert "".join(said_live) == "Cows eat grass."
            offsets = [d["at_ms"] for d in shown["answer"]["deltas"]]
            assert offsets == sorted(offsets)
            assert attempt["events"]
        else:
            assert shown["answer"]["body"]["choices"][0]["message"]["content"] == "Cows eat grass."
            assert attempt["answer"]["model"]
        assert "Bearer $STOCKYARD_KEY" in shown["curl"]
        compile(shown["python"], "snippet", "exec")
        whole = (await s.http(s.admin_key).get(f"{PAGE}/calls/{trace_id}")).text
        for key in (UPSTREAM_KEY, s.key, s.admin_key):
            assert key not in whole


@pytest.mark.parametrize("stream", [False, True])
async def test_credentials_are_masked_wherever_they_stand(stream: bool) -> None:
    async with running({"devproxy": True}) as s:
        leaked = f"the key is {UPSTREAM_KEY} and {SECRET} ok"
        pieces = [leaked[n : n + 5] for n in range(0, len(leaked), 5)]
        s.mock.script(chunks(pieces) if stream else text(leaked))
        answer = await s.chat(f"use {SECRET} please", headers={**DEBUG, "X-Password": "hunter2"}, stream=stream)
        assert answer.status_code == 200
        shown = (await s.http(s.admin_key).get(f"{PAGE}/calls/{answer.headers['x-stockyard-trace-id']}")).text
        assert "[SECRET:" in shown
        for secret in (SECRET, SECRET[6:], UPSTREAM_KEY, UPSTREAM_KEY[6:], "hunter2"):
            assert secret not in shown


async def test_a_call_that_is_not_watched_shows_nothing_and_time_ends_it() -> None:
    async with running({"devproxy": {"on_for_s": 60}}) as s:
        assert "server-timing" not in (await s.chat()).headers
        assert "server-timing" in (await s.chat(headers=DEBUG)).headers
        s.module("devproxy")._until_ns -= 60 * 10**9
        assert "server-timing" not in (await s.chat(headers=DEBUG)).headers
        assert len(await listed(s)) == 1
        switched = await s.http(s.admin_key).post(f"{PAGE}/switch", json={"key_id": 1, "for_s": 60})
        key_id = switched.json()["key_id"]
        (proxy_key,) = [p for p in s.instance.core.keys.principals() if p.kind == "proxy"]
        if str(proxy_key.key_id) != key_id:
            await s.http(s.admin_key).post(f"{PAGE}/switch", json={"key_id": proxy_key.key_id, "for_s": 60})
        assert "server-timing" in (await s.chat()).headers
        desk = s.module("devproxy").desk
        desk.switches = {key: until - 61 * 10**9 for key, until in desk.switches.items()}
        assert "server-timing" not in (await s.chat()).headers


async def test_named_keys_are_watched_whole_and_others_not() -> None:
    async with running() as s:
        (key,) = [p for p in s.instance.core.keys.principals() if p.kind == "proxy"]
        await s.configure({"devproxy": {"keys": [str(key.key_id)], "server_timing": False}})
        assert "server-timing" not in (await s.chat()).headers
        await s.chat(headers={"X-Stockyard-Debug": "0"})
        assert len(await listed(s)) == 1
        other = await s.http(s.admin_key).post("/v1/chat/completions", json=s.body(), headers=DEBUG)
        assert other.status_code == 200
        assert len(await listed(s)) == 1


async def test_one_sees_the_calls_of_ones_own_key_only() -> None:
    async with running({"devproxy": True}) as s:
        mine = await s.chat(headers=DEBUG)
        theirs = await s.http(s.admin_key).post("/v1/chat/completions", json=s.body(), headers=DEBUG)
        assert [row["id"] for row in await listed(s, s.key)] == [mine.headers["x-stockyard-trace-id"]]
        assert len(await listed(s)) == 2
        page = f"{PAGE}/calls/{theirs.headers['x-stockyard-trace-id']}"
        assert (await s.http(s.key).get(page)).status_code == 404


async def test_the_ring_keeps_the_latest() -> None:
    async with running({"devproxy": {"ring": 3}}) as s:
        sent = [(await s.chat(headers=DEBUG)).headers["x-stockyard-trace-id"] for _ in range(5)]
        assert [row["id"] for row in await listed(s)] == sent[:1:-1]


async def test_a_large_body_is_cut_and_not_held_on_to() -> None:
    async with running({"devproxy": {"max_body_kb": 4}}) as s:
        answer = await s.chat("word " * 4000, headers=DEBUG)
        shown = await view(s, answer.headers["x-stockyard-trace-id"])
        assert isinstance(shown["request"]["body"], str)
        assert len(shown["request"]["body"]) == 4 << 10
        (lens,) = s.module("devproxy").desk.calls.values()
        assert len(lens.x.raw) == 4 << 10


@pytest.mark.parametrize("stream", [False, True])
async def test_each_attempt_is_shown_and_the_providers_own_words(stream: bool) -> None:
    async with running({"devproxy": True, "retry": {"max_retries": 1, "base_delay_s": 0.01}}) as s:
        s.mock.script(status(503, "cow trouble"), text("hi"))
        answer = await s.chat(headers=DEBUG, stream=stream)
        shown = await view(s, answer.headers["x-stockyard-trace-id"])
        assert [attempt["n"] for attempt in shown["attempts"]] == [1, 2]
        assert shown["attempts"][0]["answer"]["error"]["message"] == "cow trouble"
        s.mock.script(*[status(400, f"cows: {UPSTREAM_KEY}")] * 2)
        refused = await s.chat(headers=DEBUG, stream=stream)
        assert "cows: [SECRET:" in refused.json()["error"]["details"]["upstream_body"]
        assert "server-timing" in refused.headers
        s.mock.script(status(400, "cows"))
        assert "upstream_body" not in (await s.chat(stream=stream)).text


async def test_another_dialect_is_shown_as_it_is_sent() -> None:
    provider = (
        '[providers.claude]\ntype = "anthropic"\nbase_url = "{url}"\napi_key = "an-key-1234567890"\nmodels = ["c"]\n'
    )
    async with running({"devproxy": True}, providers=lambda mock: provider.format(url=mock.at("anthropic"))) as s:
        answer = await s.chat(headers=DEBUG, model="claude/c", max_tokens=50)
        assert answer.status_code == 200
        shown = await view(s, answer.headers["x-stockyard-trace-id"])
        (attempt,) = shown["attempts"]
        assert attempt["request"]["path"].endswith("/messages")
        assert attempt["request"]["body"]["messages"] == s.mock.calls[0].json()["messages"]
        assert attempt["answer"]["type"] == "message"
        assert "an-key-1234567890" not in str(shown)


async def test_two_calls_are_compared_and_one_is_sent_again() -> None:
    async with running({"devproxy": True}) as s:
        first = (await s.chat("one", headers={**DEBUG, "X-Stockyard-Project": "barn"})).headers["x-stockyard-trace-id"]
        http = s.http(s.admin_key)
        again = (await http.post(f"{PAGE}/calls/{first}/send", json={})).json()
        assert again["http_status"] == 200
        assert s.mock.calls[0].json() == s.mock.calls[1].json()
        assert (await s.trace(again["id"]))["project"] == "barn"
        edited = (await http.post(f"{PAGE}/calls/{first}/send", json={"body": s.body("two")})).json()
        compared = (await http.get(f"{PAGE}/compare", params={"a": first, "b": edited["id"]})).json()
        assert compared["request"] == [{"path": "/messages/0/content", "before": "one", "after": "two"}]
        assert compared["answer"]


async def test_live_events_tell_of_a_stream_while_it_runs() -> None:
    async with running({"devproxy": True}) as s:
        seen: list[str] = []

        async def look() -> None:
            async with s.http(s.admin_key).stream("GET", f"{PAGE}/live") as live:
                async for line in live.aiter_lines():
                    seen.append(line)
                    if line == "event: finish":
                        return

        looking = asyncio.ensure_future(look())
        await until(lambda: bool(seen))
        s.mock.script(Reply(pieces=["Cows ", "eat ", "grass"]))
        await s.chat(headers=DEBUG, stream=True)
        await asyncio.wait_for(looking, 10)
        events = [line for line in seen if line.startswith("event")]
        assert events[:2] == ["event: start", "event: attempt"]
        assert events.count("event: delta") >= 3
        await until(lambda: not s.module("devproxy").desk.report()["watchers"])


async def test_a_breakpoint_holds_a_call_until_it_is_released_or_edited() -> None:
    async with running({"devproxy": {"breakpoints": True, "break_wait_s": 10}}) as s:
        http = s.http(s.key)
        on = await http.post(f"{PAGE}/switch", json={"breakpoint": True})
        assert on.json()["breakpoint"] is True
        for body, expected in ((None, "hi"), ({"messages": [{"role": "user", "content": "edited"}]}, "edited")):
            call = asyncio.ensure_future(s.chat())
            await until(lambda: bool(s.module("devproxy").desk.held))
            assert not s.mock.calls or len(s.mock.calls) == 1
            row = (await listed(s, s.key))[0]
            assert row["state"] == "held"
            released = await http.post(f"{PAGE}/calls/{row['id']}/release", json={"body": body})
            assert released.status_code == 200
            assert (await call).json()["choices"][0]["message"]["content"] == f"echo: {expected}"
            assert (await http.post(f"{PAGE}/calls/{row['id']}/release", json={})).status_code == 409
        assert (await http.delete(f"{PAGE}/switch/{on.json()['key_id']}")).status_code == 200
        assert (await s.chat()).status_code == 200


async def test_a_held_call_that_nobody_releases_is_refused() -> None:
    async with running({"devproxy": {"breakpoints": True, "break_wait_s": 0.05}}) as s:
        await s.http(s.key).post(f"{PAGE}/switch", json={"breakpoint": True})
        with pytest.raises(openai.APIStatusError) as caught:
            await s.sdk(max_retries=2).chat.completions.create(
                model=s.model, messages=[{"role": "user", "content": "hi"}]
            )
        assert (caught.value.status_code, caught.value.code) == (408, "breakpoint_timeout")
        assert caught.value.response.headers["x-should-retry"] == "false"
        assert not s.mock.calls


async def test_off_it_is_gone_and_what_cannot_be_is_refused() -> None:
    async with running({"devproxy": True}) as s:
        await s.chat(headers=DEBUG)
        bad = await s.http(s.admin_key).put(PAGE, json={"config": {"ring": 0}})
        assert (bad.status_code, "ring" in bad.json()["error"]["param"]) == (422, True)
        theirs = await s.http(s.key).post(f"{PAGE}/switch", json={"key_id": "other"})
        assert theirs.status_code == 403
        await s.configure({"devproxy": False})
        assert (await s.http(s.admin_key).get(f"{PAGE}/calls")).status_code == 409
        assert "server-timing" not in (await s.chat(headers=DEBUG)).headers
