"""The edge as its callers see it: the real Caddy with the real configuration."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest

from control_plane.config import Config
from control_plane.routing.edge import FolderEdge
from tests.edge.scripted_instance import Call, ScriptedInstance

pytestmark = pytest.mark.slow


@pytest.fixture
async def client(edge_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=edge_url, timeout=20, trust_env=False) as client:
        yield client


@pytest.fixture
async def acme(config: Config) -> AsyncIterator[ScriptedInstance]:
    """A routed instance of the tenant `acme`."""
    async with ScriptedInstance(config.own_socket("acme")) as instance:
        await FolderEdge(config).link("acme")
        yield instance
        await FolderEdge(config).unlink("acme")


@pytest.fixture
async def activator(config: Config) -> AsyncIterator[ScriptedInstance]:
    async def woken(call: Call) -> None:
        await call.answer(b"from the activator")

    async with ScriptedInstance(config.activator_socket, woken) as activator:
        yield activator


async def test_a_path_address_reaches_its_tenant_without_the_prefix(
    client: httpx2.AsyncClient, acme: ScriptedInstance
) -> None:
    answer = await client.post("/t/acme/v1/chat/completions?x=1", content=b"{}")
    assert answer.text == "hello"
    assert acme.calls[0].target == "/v1/chat/completions?x=1"
    assert acme.calls[0].headers["x-forwarded-prefix"] == "/t/acme"


async def test_a_path_address_without_anything_after_the_slug_is_the_root(
    client: httpx2.AsyncClient, acme: ScriptedInstance
) -> None:
    await client.get("/t/acme")
    assert acme.calls[0].target == "/"


async def test_a_host_address_reaches_its_tenant_without_a_prefix(
    client: httpx2.AsyncClient, acme: ScriptedInstance
) -> None:
    answer = await client.get("/v1/models", headers={"Host": "acme.localhost:8080", "X-Forwarded-Prefix": "/evil"})
    assert answer.text == "hello"
    assert acme.calls[0].target == "/v1/models"
    assert "x-forwarded-prefix" not in acme.calls[0].headers
    assert acme.calls[0].headers["host"] == "acme.localhost:8080"


async def test_what_a_caller_claims_of_the_way_is_overwritten(
    client: httpx2.AsyncClient, acme: ScriptedInstance
) -> None:
    await client.get(
        "/t/acme/health",
        headers={"X-Forwarded-For": "1.2.3.4", "X-Forwarded-Prefix": "/evil", "X-Stockyard-Tenant": "other"},
    )
    headers = acme.calls[0].headers
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-prefix"] == "/t/acme"
    assert headers["x-stockyard-tenant"] == "acme"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("/v1/models", "127.0.0.1"),
        ("/v1/models", "example.com"),
        ("/v1/models", "a.b.localhost"),
        ("/v1/models", "Bad_Name.localhost"),
        ("/t/Bad_Name/v1/models", "localhost"),
        ("/t/..%2f..%2fsecret/v1", "localhost"),
        ("/t/x/v1/models", "localhost"),
    ],
)
async def test_an_address_of_nobody_is_404_in_the_error_shape(client: httpx2.AsyncClient, url: str, host: str) -> None:
    answer = await client.get(url, headers={"Host": host})
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"]["code"] == "no_such_tenant"
    assert answer.json()["error"]["status"] == 404


async def test_without_a_socket_the_whole_request_goes_to_the_activator(
    client: httpx2.AsyncClient, activator: ScriptedInstance
) -> None:
    body = bytes(range(256)) * 12_000
    answer = await client.post("/t/sleeper/v1/chat/completions", content=body, headers={"Authorization": "Bearer k"})
    assert answer.text == "from the activator"
    call = activator.calls[0]
    assert (call.method, call.target, call.body) == ("POST", "/v1/chat/completions", body)
    assert call.headers["x-stockyard-tenant"] == "sleeper"
    assert call.headers["x-forwarded-prefix"] == "/t/sleeper"
    assert call.headers["authorization"] == "Bearer k"
    assert call.headers["x-forwarded-for"] == "127.0.0.1"


async def test_by_host_the_activator_learns_the_tenant_too(
    client: httpx2.AsyncClient, activator: ScriptedInstance
) -> None:
    await client.get("/v1/models", headers={"Host": "sleeper.localhost", "X-Forwarded-Prefix": "/evil"})
    assert activator.calls[0].headers["x-stockyard-tenant"] == "sleeper"
    assert "x-forwarded-prefix" not in activator.calls[0].headers


async def test_without_an_activator_the_caller_is_told_when_to_come_again(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/t/sleeper/v1/chat/completions", content=b"{}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "waking")
    assert int(answer.headers["retry-after"]) >= 1


async def test_a_socket_that_refuses_sends_the_call_to_the_activator(
    client: httpx2.AsyncClient, acme: ScriptedInstance, activator: ScriptedInstance
) -> None:
    await acme.die()
    answer = await client.post("/t/acme/v1/chat/completions", content=b"{}")
    assert answer.text == "from the activator"
    assert activator.calls[0].body == b"{}"


async def test_an_instance_that_dies_in_mid_call_is_a_502_and_no_second_call(
    client: httpx2.AsyncClient, acme: ScriptedInstance, activator: ScriptedInstance
) -> None:
    async def die(call: Call) -> None:
        await acme.die()

    acme.script = die
    answer = await client.post("/t/acme/v1/chat/completions", content=b"{}")
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "instance_lost"
    assert not activator.calls


async def test_the_anthropic_dialect_gets_its_own_error_shape(
    client: httpx2.AsyncClient, acme: ScriptedInstance
) -> None:
    async def die(call: Call) -> None:
        await acme.die()

    acme.script = die
    answer = await client.post("/t/acme/v1/messages", content=b"{}")
    assert answer.json()["type"] == "error"
    assert answer.json()["error"]["code"] == "instance_lost"


async def test_events_of_a_stream_are_not_held_back(client: httpx2.AsyncClient, acme: ScriptedInstance) -> None:
    seen = asyncio.Event()

    async def stream(call: Call) -> None:
        await call.start_stream()
        await call.event(b"data: one\n\n")
        await asyncio.wait_for(seen.wait(), 10)  # the second follows only when the caller has the first
        await call.event(b"data: two\n\n")
        await call.end_stream()

    acme.script = stream
    async with client.stream("GET", "/t/acme/v1/stream") as answer:
        blocks = answer.aiter_bytes()
        assert await anext(blocks) == b"data: one\n\n"
        seen.set()
        assert await anext(blocks) == b"data: two\n\n"


async def test_a_hang_up_reaches_the_instance(client: httpx2.AsyncClient, acme: ScriptedInstance) -> None:
    async def stream(call: Call) -> None:
        await call.start_stream()
        await call.event(b"data: one\n\n")
        assert await call.reader.read(1) == b""
        left.set()

    left = asyncio.Event()
    acme.script = stream
    async with client.stream("GET", "/t/acme/v1/stream") as answer:
        await anext(answer.aiter_bytes())
    await asyncio.wait_for(left.wait(), 10)


async def test_a_new_start_of_an_instance_is_routed_by_a_new_link(
    config: Config, client: httpx2.AsyncClient, acme: ScriptedInstance
) -> None:
    await client.get("/t/acme/health")
    await acme.die()
    async with ScriptedInstance(config.own_socket("acme")) as second:
        await FolderEdge(config).link("acme")
        assert (await client.get("/t/acme/health")).text == "hello"
        assert len(second.calls) == 1
