"""localsync over HTTP: a local Ollama first, the cloud when it cannot answer."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest

from tests.mock_replies import drop, stall, status, text
from tests.mock_upstream import MockUpstream
from tests.modules.conftest import Running, running

LOCAL = "mock-small"


@asynccontextmanager
async def local_and_cloud(**settings: Any) -> AsyncIterator[tuple[Running, MockUpstream]]:
    """An instance whose cloud is `up`, and a mock whose Ollama path is the local server."""
    async with MockUpstream() as local:
        own = {"endpoint": local.at("ollama"), "map": {"up/small": LOCAL}, **settings}
        async with running({"localsync": own}) as s:
            yield s, local


async def said(s: Running, *, streamed: bool, **more: Any) -> str:
    made: Any = await s.sdk().chat.completions.create(**s.body(**more), stream=streamed)
    if not streamed:
        return str(made.choices[0].message.content)
    return "".join([chunk.choices[0].delta.content or "" async for chunk in made if chunk.choices])


def decisions(trace: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(entry["action"], entry["detail"]) for entry in trace["decisions"] if entry["module"] == "localsync"]


def chats(local: MockUpstream) -> int:
    return sum(call.path.endswith("/api/chat") for call in local.calls)


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_mapped_model_is_served_locally_for_nothing_and_by_the_cloud_when_that_stops(streamed):
    async with local_and_cloud() as (s, local):
        assert await said(s, streamed=streamed) == "echo: hi"
        (trace,) = await s.recent_traces(1)
        assert (trace["provider"], trace["model"], trace["cost_usd"]) == ("localsync", LOCAL, 0)
        assert (trace["tags"], decisions(trace)) == ({"local": "true"}, [("local", {"model": LOCAL})])
        assert (chats(local), len(s.mock.calls)) == (1, 0)
        await local.stop()
        assert await said(s, streamed=streamed) == "echo: hi"
        (trace,) = await s.recent_traces(1)
        assert (trace["provider"], [attempt["provider"] for attempt in trace["attempts"]]) == (
            "up",
            ["localsync", "up"],
        )
        assert [action for action, _ in decisions(trace)] == ["local", "cloud"]
        assert await said(s, streamed=streamed) == "echo: hi"
        (trace,) = await s.recent_traces(1)
        assert [attempt["provider"] for attempt in trace["attempts"]] == ["up"]
        ((action, detail),) = decisions(trace)
        assert (action, "does not answer" in detail["why"]) == ("cloud", True)


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_server_that_does_not_begin_in_time_is_passed_over(streamed):
    async with local_and_cloud(first_token_s=0.2) as (s, local):
        local.script(stall(0, "never") if streamed else text("late", delay_s=30))
        assert await said(s, streamed=streamed) == "echo: hi"
        (trace,) = await s.recent_traces(1)
        assert decisions(trace)[-1] == ("cloud", {"why": "timeout_first_token"})
        assert s.module("localsync").server.inflight == 0


async def test_a_failure_after_the_first_token_goes_through():
    async with local_and_cloud() as (s, local):
        local.script(drop(2, "one two three four"))
        with pytest.raises(openai.APIError):
            await said(s, streamed=True)
        assert not s.mock.calls
        assert s.module("localsync").server.inflight == 0


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]}, "needs tools"),
        ({"content": "word " * 9000}, "too long"),
    ],
)
async def test_what_only_the_cloud_can_do_goes_there(more, why):
    async with local_and_cloud() as (s, local):
        await said(s, streamed=False, **more)
        (trace,) = await s.recent_traces(1)
        assert trace["provider"] == "up"
        assert why in decisions(trace)[0][1]["why"]
        assert chats(local) == 0


async def test_a_model_that_is_not_there_and_a_full_server_go_to_the_cloud():
    async with local_and_cloud(map={"up/small": "nothing-like-it", "up/large": LOCAL}, max_inflight=1) as (s, _):
        assert (await s.chat()).headers["x-stockyard-provider"] == "up"
        s.module("localsync").server.inflight = 1
        assert (await s.chat(model="up/large")).headers["x-stockyard-provider"] == "up"
        s.module("localsync").server.inflight = 0
        assert (await s.chat(model="up/large")).headers["x-stockyard-provider"] == "localsync"


async def test_without_the_cloud_a_failure_is_a_503():
    async with local_and_cloud(fallback_to_cloud=False) as (s, local):
        assert (await s.chat()).headers["x-stockyard-provider"] == "localsync"
        await local.stop()
        for _ in range(2):
            refused = await s.chat()
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "local_unavailable")
            assert int(refused.headers["retry-after"]) > 0
        assert not s.mock.calls


async def test_the_cloud_may_be_asked_first():
    async with local_and_cloud(prefer="cloud") as (s, _):
        await s.configure({"retry": False})
        assert (await s.chat()).headers["x-stockyard-provider"] == "up"
        s.mock.script(status(503))
        assert (await s.chat()).headers["x-stockyard-provider"] == "localsync"


async def test_a_400_of_the_local_server_is_the_callers():
    async with local_and_cloud() as (s, local):
        local.script(status(400))
        assert (await s.chat()).status_code == 400
        assert not s.mock.calls


async def test_an_openai_compatible_server_serves_as_well():
    async with MockUpstream() as local:
        own = {"endpoint": local.url, "map": {"up/*": "gpt-4o-mini"}}
        async with running({"localsync": own}) as s:
            report = (await s.http(s.admin_key).get("/api/proxy/modules/localsync")).json()["report"]
            if "gpt-4o-mini" not in report["models"]:
                await s.configure({"localsync": {**own, "map": {"up/*": report["models"][0]}}})
            answer = await s.chat()
            assert (answer.headers["x-stockyard-provider"], len(s.mock.calls)) == ("localsync", 0)


async def test_models_are_looked_for_again():
    async with local_and_cloud(refresh_s=1) as (s, _):
        module = s.module("localsync")
        module.server.failed("test")
        module._probed_ns = 0
        await module.tick()
        assert (await s.chat()).headers["x-stockyard-provider"] == "localsync"


async def test_calls_that_may_not_go_there_do_not():
    regions = {"regions": {"eu": {"allowed": ["eu"]}}, "default_region": "eu"}
    async with local_and_cloud() as (s, local):
        assert (await s.chat(headers={"X-Stockyard-Provider": "up"})).headers["x-stockyard-provider"] == "up"
        await s.configure({"regionroute": regions})
        assert (await s.chat()).status_code == 403
        assert chats(local) == 0
