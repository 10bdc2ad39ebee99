"""`GET /v1/models` over HTTP."""

from typing import Any

import anthropic
import pytest

from tests.modules.conftest import Running, pytest_asyncio_loop_factories, running

__all__ = ["pytest_asyncio_loop_factories"]

OPENAI = (
    '[providers.openai]\nbase_url = "{url}"\napi_key = "k"\nmodels = ["gpt-4o", "text-embedding-3-small", "own-tts"]\n'
)
OTHERS = """
[aliases.fast]
target = "openai/gpt-4o"
[aliases.lost]
target = "nobody/x"
[[routes]]
pattern = "house-model"
targets = [{ target = "openai/gpt-4o" }]
[[routes]]
pattern = "house-*"
targets = [{ target = "openai/gpt-4o" }]
"""


def openai_too(mock: Any) -> str:
    return OPENAI.replace("{url}", mock.url)


async def listed(s: Running, query: str = "", **headers: str) -> dict[str, Any]:
    answer = await s.http().get(f"/v1/models{query}", headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def ids(found: dict[str, Any]) -> list[str]:
    return [row["id"] for row in found["data"]]


async def test_a_model_says_what_the_catalogue_knows_of_it() -> None:
    async with running(providers=openai_too) as s:
        row = next(row for row in (await listed(s))["data"] if row["id"] == "openai/gpt-4o")
        assert (row["object"], row["owned_by"]) == ("model", "openai")
        about = row["stockyard"]
        assert (about["context_tokens"], about["price_in_usd_per_mtok"], about["price_out_usd_per_mtok"]) == (
            128_000,
            2.5,
            10.0,
        )
        assert {"chat", "vision", "tools", "json_schema"} <= set(about["capabilities"])
        assert about["healthy"] is True
        unknown = next(row for row in (await listed(s))["data"] if row["id"] == "openai/own-tts")
        assert (unknown["stockyard"]["capabilities"], unknown["stockyard"]["price_in_usd_per_mtok"]) == (
            ["audio"],
            None,
        )


async def test_the_list_is_narrowed_by_provider_and_capability() -> None:
    async with running(providers=openai_too) as s:
        assert ids(await listed(s, "?provider=openai&capability=embeddings")) == ["openai/text-embedding-3-small"]
        assert "mock/rerank" in ids(await listed(s, "?capability=rerank"))
        assert all(name.startswith("mock/") for name in ids(await listed(s, "?provider=mock")))
        wrong = await s.http().get("/v1/models?capability=flying")
        assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "capability")


async def test_routes_and_aliases_are_listed_by_their_names() -> None:
    async with running({"modelalias": True}, config=OTHERS, providers=openai_too) as s:
        found = {row["id"]: row for row in (await listed(s))["data"]}
        assert sorted(found["openai/gpt-4o"]["stockyard"]["aliases"]) == ["fast", "house-model"]
        assert found["fast"]["stockyard"]["context_tokens"] == 128_000
        assert found["house-model"]["owned_by"] == "openai"
        assert "house-*" not in found
        assert "lost" not in found
        one = (await s.http().get("/v1/models/fast")).json()
        assert one == found["fast"]


async def test_aliases_are_not_listed_while_the_module_is_off() -> None:
    async with running({"modelalias": False}, config=OTHERS, providers=openai_too) as s:
        assert "fast" not in ids(await listed(s))


async def test_one_model_is_found_with_a_slash_in_its_name() -> None:
    async with running(providers=openai_too) as s:
        for name in ("openai/gpt-4o", "gpt-4o"):
            assert (await s.http().get(f"/v1/models/{name}")).json()["id"] == "openai/gpt-4o"
        missing = await s.http().get("/v1/models/openai/gpt-99")
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


async def test_anthropics_sdk_gets_its_own_shape_page_by_page() -> None:
    async with running(providers=openai_too) as s:
        client = anthropic.AsyncAnthropic(base_url=s.root, api_key=s.key, max_retries=0)
        everything = [model.id async for model in client.models.list(limit=3)]
        assert everything == ids(await listed(s))
        one = await client.models.retrieve("mock/gpt")
        assert (one.id, one.type) == ("mock/gpt", "model")
        await client.close()


@pytest.mark.parametrize("limit", ["0", "x", "1001"])
async def test_a_limit_that_cannot_be_is_refused(limit: str) -> None:
    async with running() as s:
        assert (await s.http().get(f"/v1/models?limit={limit}")).status_code == 400


async def test_prices_are_shown_in_every_unit() -> None:
    config = '[prices."mock/image"]\nper_image_usd = 0.04\nper_audio_minute_usd = 0.006\n'
    async with running(config=config) as s:
        rows = (await s.http(s.admin_key).get("/api/proxy/prices")).json()["prices"]
        own = next(row for row in rows if row["provider"] == "mock")
        assert (own["model"], own["per_image_usd"], own["per_audio_minute_usd"], own["source"]) == (
            "image",
            0.04,
            0.006,
            "custom",
        )
        claude = next(row for row in rows if row["model"] == "claude-haiku-4-5")
        assert (claude["cache_write_usd_per_mtok"], claude["cache_write_1h_usd_per_mtok"]) == (1.25, 2.0)
        gemini = next(row for row in rows if row["model"] == "gemini-2.5-pro")
        assert (gemini["above"]["tokens"], gemini["above"]["in_usd_per_mtok"]) == (200_000, 2.5)
