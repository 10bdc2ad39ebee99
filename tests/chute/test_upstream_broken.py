"""What the upstream client says of servers that fail, and that it goes on afterwards."""

import asyncio
import gzip

import pytest

from instance.chute.upstream import Limits, Upstream, UpstreamError, UpstreamUrl
from tests.chute.upstream_calls import STREAM, client_and_server, post
from tests.mock_replies import Reply, drop, garbage, gzip_bomb, hang_up, text, truncated_chunked, wrong_length
from tests.mock_upstream import MockUpstream, until

GZIP = {"content-encoding": "gzip"}


async def kind_of(client: Upstream, server: MockUpstream, body: bytes = STREAM, limit: int = 1 << 20) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await (await post(client, server.url, body)).read(limit)
    return caught.value


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (wrong_length(5000), "truncated"),
        (truncated_chunked(), "truncated"),
        (drop(2), "truncated"),
        (Reply(wire=b"HTTP/1.1 200 OK\r\ncontent-le"), "truncated"),
        (hang_up(), "reset"),
        (garbage(), "bad_response"),
        (Reply(wire=b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd"), "bad_response"),
        (Reply(wire=b"HTTP/1.1 200 OK\r\ncontent-length: -3\r\n\r\nabc"), "bad_response"),
        (Reply(wire=b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"), "bad_response"),
        (Reply(wire=b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n"), "bad_response"),
        (Reply(wire=b"HTTP/1.1 200 OK\r\nx: " + b"a" * 70_000 + b"\r\n\r\n"), "too_large"),
        (Reply(wire=b"HTTP/1.1 200 OK\r\n" + b"x: a\r\n" * 300 + b"\r\n"), "too_large"),
        (Reply(wire=b"HTTP/1.1 103 E\r\nx: " + b"a" * 30_000 + b"\r\n\r\n", headers={}), "truncated"),
        (Reply(body=b"a" * 5000), None),
        (Reply(body=b"x", headers={"content-encoding": "br"}), "bad_response"),
        (Reply(body=b"not gzip at all", headers=GZIP), "bad_response"),
        (Reply(body=gzip.compress(b"a" * 1000)[:-9], headers=GZIP), "truncated"),
        (gzip_bomb(8), "too_large"),
    ],
)
async def test_a_broken_answer_has_its_kind_and_the_next_call_works(reply, kind):
    async with client_and_server() as (client, server):
        server.script(reply)
        if kind is None:
            assert len(await (await post(client, server.url)).read(1 << 20)) == 5000
        else:
            error = await kind_of(client, server)
            assert (error.kind, error.sent) == (kind, True)
        assert b"echo" in await (await post(client, server.url)).read(1 << 20)
        await until(lambda: client.counts() == (1, 1))


async def test_a_body_beyond_the_callers_limit_is_given_up():
    async with client_and_server() as (client, server):
        server.script(Reply(body=b"a" * 5000), Reply(text="word " * 2000))
        assert (await kind_of(client, server, limit=4999)).kind == "too_large"
        assert (await kind_of(client, server, limit=4999)).kind == "too_large"


async def test_a_bomb_read_in_blocks_comes_in_small_ones():
    async with client_and_server() as (client, server):
        server.script(gzip_bomb(4))
        response = await post(client, server.url)
        sizes = []
        while block := await response.next_block():
            sizes.append(len(block))
        assert sum(sizes) == 4 << 20
        assert max(sizes) <= client.limits.decoded_block_bytes


async def test_a_refused_connection_was_not_sent():
    async with MockUpstream() as server:
        url = server.url
    client = Upstream()
    with pytest.raises(UpstreamError) as caught:
        await post(client, url)
    assert (caught.value.kind, caught.value.sent) == ("connect", False)
    assert caught.value.message.endswith("Connection refused")
    assert client.counts() == (0, 0)
    await client.close()


async def test_a_name_without_an_address_cannot_be_connected_to():
    async def resolver(host: str, port: int) -> list[str]:
        raise OSError(f"no such name {host}")

    client = Upstream(resolver=resolver)
    with pytest.raises(UpstreamError, match="cannot be resolved") as caught:
        await post(client, "http://nowhere.invalid/v1")
    assert caught.value.kind == "connect"


async def test_a_resolver_that_hangs_counts_against_the_connect_timeout():
    async def resolver(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    client = Upstream(resolver=resolver)
    with pytest.raises(UpstreamError) as caught:
        await client.send(
            UpstreamUrl.parse("http://slow.invalid/v1"), b"GET", b"/models", [], b"", connect_timeout_s=0.02
        )
    assert caught.value.kind == "connect_timeout"
    assert client.counts() == (0, 0)


async def test_the_next_address_is_tried_when_the_first_refuses():
    async with MockUpstream() as server:

        async def resolver(host: str, port: int) -> list[str]:
            return ["127.0.0.2", "127.0.0.1"]

        client = Upstream(resolver=resolver)
        response = await post(client, f"http://two.example:{server.port}/v1")
        assert response.status == 200
        await client.close()


async def test_a_kept_connection_that_the_server_closed_is_replaced():
    async with client_and_server() as (client, server):
        await (await post(client, server.url)).read(1 << 20)
        server.script(hang_up(), text("again"))
        assert b"again" in await (await post(client, server.url)).read(1 << 20)
        assert len(server.calls) == 3


async def test_a_call_is_repeated_at_most_once():
    async with client_and_server() as (client, server):
        await (await post(client, server.url)).read(1 << 20)
        server.script(hang_up(), hang_up(), text("never"))
        assert (await kind_of(client, server)).kind == "reset"
        assert len(server.calls) == 3


async def test_a_call_whose_answer_began_is_not_repeated():
    async with client_and_server() as (client, server):
        await (await post(client, server.url)).read(1 << 20)
        server.script(Reply(wire=b"HTTP/1.1 2"), text("never"))
        assert (await kind_of(client, server)).kind == "truncated"
        assert len(server.calls) == 2


async def test_an_answer_with_rubbish_after_it_counts_and_its_connection_does_not():
    async with client_and_server() as (client, server):
        server.script(Reply(wire=b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\n\r\n"))
        assert await (await post(client, server.url)).read(10) == b"abc"
        await until(lambda: client.counts() == (0, 0))


async def test_bytes_that_nobody_asked_for_end_a_kept_connection():
    async with client_and_server() as (client, server):
        await (await post(client, server.url)).read(1 << 20)
        server.say(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
        await until(lambda: client.counts() == (0, 0))


async def test_a_stream_beyond_the_response_limit_ends():
    limits = Limits(response_bytes=10_000)
    async with client_and_server(limits) as (client, server):
        server.script(Reply(text="word " * 20_000))
        assert (await kind_of(client, server)).kind == "too_large"


async def test_what_came_before_the_break_is_given_out_first():
    async with client_and_server() as (client, server):
        server.script(drop(2))
        response = await post(client, server.url, STREAM)
        came = b""
        with pytest.raises(UpstreamError):
            while block := await response.next_block():
                came += block
        assert b"two" in came or b"one" in came
