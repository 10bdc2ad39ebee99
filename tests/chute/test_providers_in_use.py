"""Providers as the API shows and removes them in a running instance: routes that name them, their state, checks through shims."""

from typing import Any

from tests.mock_replies import status
from tests.mock_upstream import MockUpstream
from tests.modules.conftest import Running, pytest_asyncio_loop_factories, running
from tests.modules.openai_like import completion, whole

__all__ = ["pytest_asyncio_loop_factories"]


async def own(s: Running, **more: Any) -> Any:
    body = {"name": "own", "base_url": s.mock.url, "api_key": "key-of-own-1", **more}
    answer = await s.http(s.admin_key).post("/api/proxy/providers", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_a_provider_that_routes_name_is_removed_only_by_force() -> None:
    async with running() as s:
        await own(s)
        http = s.http(s.admin_key)
        made = await http.post("/api/proxy/routes", json={"pattern": "fast", "targets": [{"target": "own/small"}]})
        assert made.status_code == 201, made.text
        shown = (await http.get("/api/proxy/providers/own")).json()
        assert len(shown["routes"]) == 1
        refused = await http.delete("/api/proxy/providers/own")
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "in_use")
        assert refused.json()["error"]["details"] == {"routes": shown["routes"]}
        assert (await http.get("/api/proxy/providers/own")).status_code == 200
        assert (await http.delete("/api/proxy/providers/own?force=true")).status_code == 200
        assert (await http.get("/api/proxy/providers/own")).status_code == 404


async def test_the_circuit_of_a_provider_is_shown() -> None:
    async with running({"circuitbreaker": {"spare_last": False}, "retry": False}) as s:
        http = s.http(s.admin_key)
        shown = (await http.get("/api/proxy/providers/up")).json()
        assert shown["circuit"] == "closed"
        breakers = s.instance.core.services["breakers"]
        for _ in range(100):
            s.mock.script(status(500))
            await s.chat()
        assert breakers.of_provider("up") == "open"
        rows = (await http.get("/api/proxy/providers")).json()["providers"]
        assert {row["name"]: row["circuit"] for row in rows}["up"] == "open"


async def test_a_check_by_chat_goes_through_the_providers_shim() -> None:
    def toml(mock: MockUpstream) -> str:
        return f'[providers.fireworks]\nbase_url = "{mock.url}"\napi_key = "key-of-fireworks-1"\n'

    async with running(providers=toml) as s:
        s.mock.script(whole(completion()), whole({"error": {"message": "no credit"}}, 412))
        http = s.http(s.admin_key)
        asked = {"chat": True, "model": "short"}
        answer = (await http.post("/api/proxy/providers/fireworks/check", json=asked)).json()
        assert (answer["ok"], answer["http_status"]) == (True, 200)
        assert s.mock.calls[-1].json()["model"] == "accounts/fireworks/models/short"
        answer = (await http.post("/api/proxy/providers/fireworks/check", json=asked)).json()
        assert (answer["ok"], answer["http_status"]) == (False, 402) and "no credit" in answer["error"]


async def test_a_provider_without_a_list_of_models_is_checked_by_its_answer() -> None:
    def toml(mock: MockUpstream) -> str:
        return f'[providers.perplexity]\nbase_url = "{mock.root}/nowhere"\napi_key = "key-of-perplexity-1"\n'

    async with running(providers=toml) as s:
        http = s.http(s.admin_key)
        answer = (await http.post("/api/proxy/providers/perplexity/check", json={})).json()
        assert (answer["ok"], answer["http_status"]) == (True, 404)
        s.mock.script(whole({"error": {"message": "bad key"}}, 401))
        answer = (await http.post("/api/proxy/providers/perplexity/check", json={})).json()
        assert (answer["ok"], answer["http_status"]) == (False, 401)
        assert (await http.get("/api/proxy/providers/perplexity")).json()["status"] == "bad_key"


async def test_a_provider_of_a_dialect_is_stored_with_its_type() -> None:
    async with running() as s:
        shown = await own(s, type="anthropic", base_url=f"{s.mock.root}/anthropic/v1")
        assert shown["type"] == "anthropic" and shown["openai_base_url"] == f"{s.mock.root}/anthropic/v1"
        answer = await s.http(s.admin_key).put("/api/proxy/providers/own", json={"type": "klingon"})
        assert (answer.status_code, answer.json()["error"]["param"]) == (422, "type")
