"""The bounds of the connection pool."""

import asyncio

import pytest

from instance.chute.upstream import Limits, UpstreamError, UpstreamUrl
from tests.chute.upstream_calls import HEADERS, client_and_server, post
from tests.mock_replies import Reply, delay, stall
from tests.mock_upstream import until


async def test_idle_connections_are_bounded():
    async with client_and_server(Limits(idle_per_origin=2)) as (client, server):
        await asyncio.gather(*[post(client, server.url) for _ in range(6)])
        await until(lambda: client.counts() == (2, 2))
        await until(lambda: len(server.open_connections) == 2)


async def test_idle_connections_are_closed_after_a_while():
    async with client_and_server(Limits(idle_s=0.05)) as (client, server):
        await asyncio.gather(*[post(client, server.url) for _ in range(3)])
        await until(lambda: client.counts() == (0, 0))
        await until(lambda: not server.open_connections)


async def test_the_servers_own_idle_time_is_heeded():
    async with client_and_server() as (client, server):
        server.script(Reply(text="hi", headers={"keep-alive": "timeout=1, max=5"}))
        await (await post(client, server.url)).read(1 << 20)
        await (await post(client, server.url)).read(1 << 20)
        assert server.connections == 2


async def test_calls_beyond_the_cap_wait_for_a_connection():
    async with client_and_server(Limits(connections_per_origin=2)) as (client, server):
        server.script(*[delay(0.01) for _ in range(8)])
        responses = await asyncio.gather(*[post(client, server.url) for _ in range(8)])
        assert all(response.status == 200 for response in responses)
        assert server.connections == 2


async def test_waiting_for_a_connection_ends_with_the_connect_timeout():
    async with client_and_server(Limits(connections_per_origin=1)) as (client, server):
        server.script(stall(0))
        held = await post(client, server.url, b'{"stream":true,"messages":[]}')
        url = UpstreamUrl.parse(server.url)
        with pytest.raises(UpstreamError) as caught:
            await client.send(url, b"POST", b"/chat/completions", HEADERS, b"{}", connect_timeout_s=0.02)
        assert (caught.value.kind, caught.value.sent) == ("connect_timeout", False)
        held.close()
        assert (await post(client, server.url)).status == 200


async def test_a_connection_that_breaks_lets_the_next_in_the_queue_open_one():
    async with client_and_server(Limits(connections_per_origin=1)) as (client, server):
        server.script(stall(0))
        held = await post(client, server.url, b'{"stream":true,"messages":[]}')
        waiting = asyncio.create_task(post(client, server.url))
        await asyncio.sleep(0)
        held.close()
        assert (await waiting).status == 200


async def test_closing_idle_connections_leaves_those_in_use():
    async with client_and_server() as (client, server):
        server.script(Reply(text="a"), stall(0))
        await asyncio.gather(post(client, server.url), post(client, server.url, b'{"stream":true,"messages":[]}'))
        client.close_idle()
        await until(lambda: client.counts() == (1, 0))
