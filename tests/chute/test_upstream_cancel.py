"""A caller that leaves, and a caller that reads slowly."""

import asyncio
from contextlib import suppress

import pytest

from instance.chute.upstream import Limits, UpstreamError
from tests.chute.upstream_calls import STREAM, client_and_server, post
from tests.mock_replies import Reply, delay, stall
from tests.mock_upstream import until


async def test_cancelling_a_call_that_waits_for_its_answer_closes_the_connection():
    async with client_and_server() as (client, server):
        server.script(delay(60))
        task = asyncio.create_task(post(client, server.url))
        await until(lambda: len(server.calls) == 1)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await until(lambda: server.calls[0].hung_up)
        assert client.counts() == (0, 0)


async def test_cancelling_the_reader_of_a_stream_closes_the_connection():
    async with client_and_server() as (client, server):
        server.script(stall(1))
        came = asyncio.Event()

        async def read_all():
            response = await post(client, server.url, STREAM)
            while await response.next_block():
                came.set()

        task = asyncio.create_task(read_all())
        await came.wait()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await until(lambda: server.calls[0].hung_up)


async def test_closing_a_response_wakes_its_reader_and_hangs_up():
    async with client_and_server() as (client, server):
        server.script(stall(0))
        response = await post(client, server.url, STREAM)
        while b"role" not in await response.next_block():
            pass
        reader = asyncio.create_task(response.next_block())
        await asyncio.sleep(0)
        response.close()
        response.close()
        with pytest.raises(UpstreamError, match="closed by its reader"):
            await reader
        await until(lambda: server.calls[0].hung_up)


async def test_closing_a_complete_response_keeps_its_connection():
    async with client_and_server() as (client, server):
        response = await post(client, server.url)
        await response.read(1 << 20)
        response.close()
        await (await post(client, server.url)).read(1 << 20)
        assert server.connections == 1


async def test_a_slow_reader_slows_the_server_down_and_gets_everything():
    limits = Limits(buffered_bytes=64 * 1024)
    async with client_and_server(limits) as (client, server):
        size = 32 << 20
        server.script(Reply(body=b"x" * size, content_type="application/octet-stream"))
        response = await post(client, server.url)
        unsent = server.unsent_bytes
        await until(lambda: unsent() > 1 << 20)
        for _ in range(50):
            await asyncio.sleep(0)
        assert response.buffered < 64 * 1024 + (1 << 20)
        assert unsent() > 1 << 20
        assert len(await response.read(size)) == size
        await until(lambda: client.counts() == (1, 1))


async def test_cancelling_while_connecting_leaves_nothing_open():
    async with client_and_server() as (client, server):
        task = asyncio.create_task(post(client, server.url))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert client.counts() == (0, 0)
        await until(lambda: not server.open_connections)
