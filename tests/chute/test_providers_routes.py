"""`/api/proxy/providers` and `/api/proxy/prices` over HTTP."""

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

import instance.chute
from instance.chute import provider_routes
from instance.chute.mock_model import MockModel
from instance.chute.prices import PriceTable
from instance.chute.providers import ProviderTable
from instance.chute.upstream import Upstream
from instance.core.core import Core, CoreOptions
from instance.core.principals import Principal

MIGRATIONS = Path(instance.chute.__file__).parent / "migrations"
OWN = {"name": "own", "base_url": "http://127.0.0.1:9/v1", "api_key": "stored-key-1234"}


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the routes, with the rights of an administrator."""
    core = await Core.open(CoreOptions(data_dir=tmp_path / "data", env={}, components=[("chute", MIGRATIONS)]))
    core.writer.append_ledger = lambda conn, events: None
    await core.start()
    table = await ProviderTable.open(core, Upstream(), MockModel(core.clock))
    chute: Any = SimpleNamespace(core=core, providers=table, prices=PriceTable())
    app = FastAPI()
    app.include_router(provider_routes.router(chute))
    app.state.core = core
    app.state.open_principal = Principal(1, "admin", frozenset({"admin"}))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://instance") as client:
        yield client
    await core.close()


async def test_the_list_has_the_mock_and_the_bundled_providers(http):
    found = (await http.get("/api/proxy/providers")).json()
    by_name = {row["name"]: row for row in found["providers"]}
    assert found["count"] == found["total"] == len(by_name)
    assert (by_name["mock"]["status"], by_name["openai"]["status"]) == ("active", "no_key")


async def test_a_provider_is_created_read_changed_checked_and_deleted(http):
    created = await http.post("/api/proxy/providers", json=OWN)
    assert (created.status_code, created.json()["status"], created.json()["id"]) == (201, "created", "own")
    changed = await http.put("/api/proxy/providers/own", json={"priority": 5})
    assert (changed.json()["status"], changed.json()["priority"], changed.json()["api_key_set"]) == ("updated", 5, True)
    assert (await http.get("/api/proxy/providers/own")).json()["status"] == "active"
    checked = (await http.post("/api/proxy/providers/own/check")).json()
    assert (checked["status"], checked["ok"], checked["http_status"]) == ("checked", False, None)
    assert (await http.delete("/api/proxy/providers/own")).json()["status"] == "deleted"
    assert "stored-key-1234" not in created.text + changed.text


@pytest.mark.parametrize(
    "body", [{"name": "x", "colour": "red"}, {"base_url": "http://x"}, {"name": "x", "priority": -1}]
)
async def test_bad_bodies_are_refused(http, body):
    assert (await http.post("/api/proxy/providers", json=body)).status_code == 422


async def test_the_models_of_the_mock_are_listed(http):
    assert (await http.get("/api/proxy/providers/mock/models")).json()["models"][:3] == ["gpt", "small", "large"]


async def test_prices_are_listed_with_their_source_and_date(http):
    rows = (await http.get("/api/proxy/prices")).json()["prices"]
    row = next(row for row in rows if row["model"] == "gpt-4o-mini")
    assert (row["in_usd_per_mtok"], row["source"]) == (0.15, "bundled")
    assert row["as_of"]


def test_every_route_says_which_scope_it_needs():
    core = SimpleNamespace(hosted=None, settings=SimpleNamespace(allow_private_networks=False))
    chute: Any = SimpleNamespace(core=core, providers=None, prices=None)
    routes: list[Any] = list(provider_routes.router(chute).routes)
    assert routes
    for route in routes:
        scopes = {getattr(dependency.call, "scope", None) for dependency in route.dependant.dependencies}
        assert scopes == {"proxy:read"} if route.methods == {"GET"} else {"proxy:write"}
