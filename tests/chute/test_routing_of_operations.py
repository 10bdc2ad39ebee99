"""Routes, aliases and fallbacks act on every kind of call and for callers of every dialect."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from tests.mock_replies import status
from tests.mock_upstream import MockUpstream
from tests.modules.conftest import Running, running

MODULES: dict[str, Any] = {
    "retry": False,
    "embedcache": False,
    "modelalias": {"aliases": [{"alias": "own", "target": "routed"}]},
    "fallbackrouter": True,
}
CALLS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}]},
    "/v1/messages": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 50},
    "/v1/responses": {"input": "hi"},
    "/v1/completions": {"prompt": "hi"},
    "/v1/embeddings": {"input": "hi"},
    "/v1/images/generations": {"prompt": "a cat"},
    "/v1/moderations": {"input": "hi"},
}


@asynccontextmanager
async def routed() -> AsyncIterator[tuple[Running, MockUpstream]]:
    """An instance where the alias `own` leads over the route `routed` to `up`, and from there to `b`."""
    async with MockUpstream() as other:
        config = f'[providers.b]\nbase_url = "{other.url}"\napi_key = "key-of-the-other-1"\nmodels = ["two"]\n'
        async with running(MODULES, config=config) as s:
            route = {"pattern": "routed", "targets": [{"target": "up/one"}], "fallback": ["b/two"]}
            made = await s.http(s.admin_key).post("/api/proxy/routes", json=route)
            assert made.status_code == 201, made.text
            yield s, other


async def call(s: Running, path: str, **more: Any) -> httpx2.Response:
    return await s.http().post(path, json={"model": "own", **CALLS[path], **more})


@pytest.mark.parametrize("path", CALLS)
async def test_an_alias_of_a_route_reaches_its_target_and_the_next_one_when_that_fails(path):
    async with routed() as (s, other):
        first = await call(s, path)
        assert first.status_code == 200, first.text
        assert (first.headers["x-stockyard-provider"], first.headers["x-stockyard-model"]) == ("up", "one")
        assert s.mock.calls[-1].json()["model"] == "one"
        s.mock.script(status(503))
        second = await call(s, path)
        assert second.status_code == 200, second.text
        assert (second.headers["x-stockyard-provider"], second.headers["x-stockyard-model"]) == ("b", "two")
        assert other.calls[-1].json()["model"] == "two"


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses", "/v1/completions"])
async def test_streams_of_other_dialects_go_on_too(path):
    async with routed() as (s, _):
        s.mock.script(status(503))
        answer = await call(s, path, stream=True)
        assert answer.headers["x-stockyard-provider"] == "b"
        assert "echo" in answer.text


@pytest.mark.parametrize("path", CALLS)
async def test_every_kind_of_call_can_be_explained(path):
    async with routed() as (s, other):
        asked = {"path": path, "body": {"model": "own", **CALLS[path]}}
        found = (await s.http(s.admin_key).post("/api/proxy/explain", json=asked)).json()
        assert found["rejected"] is None, found
        assert [target["target"] for target in found["targets"]] == ["up/one"]
        assert not s.mock.calls
        assert not other.calls
