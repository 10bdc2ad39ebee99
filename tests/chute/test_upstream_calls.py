"""What the upstream client sends and gives back when all goes well."""

import asyncio

import orjson
import pytest

from instance.chute.upstream import Upstream, UpstreamError, UpstreamUrl
from tests.chute.upstream_calls import BODY, HEADERS, STREAM, client_and_server, post
from tests.mock_replies import Reply, chunks, deflated, gzipped
from tests.mock_upstream import MockUpstream


async def test_request_arrives_with_its_headers_path_and_body():
    async with client_and_server() as (client, server):
        answer = orjson.loads(await (await post(client, server.url)).read(1 << 20))
        assert answer["choices"][0]["message"]["content"] == "echo: hello there"
        call = server.calls[0]
        assert (call.method, call.path, call.body, call.key) == ("POST", "/v1/chat/completions", BODY, "sk-test")
        assert call.headers["host"] == f"127.0.0.1:{server.port}"
        assert call.headers["content-length"] == str(len(BODY))


async def test_the_loop_is_uvloop_as_in_the_server():
    assert type(asyncio.get_running_loop()).__module__.startswith("uvloop")


async def test_a_complete_answer_is_read_without_suspending():
    async with client_and_server() as (client, server):
        response = await post(client, server.url)
        reading = response.read(1 << 20)
        with pytest.raises(StopIteration) as done:
            reading.send(None)
        assert orjson.loads(done.value.value)["object"] == "chat.completion"


async def test_answers_one_after_another_share_a_connection():
    async with client_and_server() as (client, server):
        for _ in range(5):
            await (await post(client, server.url)).read(1 << 20)
        assert server.connections == 1
        assert client.counts() == (1, 1)


async def test_calls_at_once_have_a_connection_each_and_keep_them():
    async with client_and_server() as (client, server):
        responses = await asyncio.gather(*[post(client, server.url) for _ in range(8)])
        for response in responses:
            await response.read(1 << 20)
        assert server.connections == 8
        assert client.counts() == (8, 8)


async def test_the_connection_used_last_is_used_first():
    async with client_and_server() as (client, server):
        await asyncio.gather(*[post(client, server.url) for _ in range(4)])
        for _ in range(3):
            await post(client, server.url)
        assert len({call.connection for call in list(server.calls)[4:]}) == 1


async def test_a_server_that_says_close_is_called_on_a_new_connection():
    async with client_and_server() as (client, server):
        server.script(Reply(text="bye", headers={"connection": "close"}))
        assert b"bye" in await (await post(client, server.url)).read(1 << 20)
        await (await post(client, server.url)).read(1 << 20)
        assert server.connections == 2


async def test_a_stream_comes_in_blocks_as_they_arrive():
    async with client_and_server() as (client, server):
        server.script(chunks(["one", "two"], piece_delay_s=0.02))
        response = await post(client, server.url, STREAM)
        assert response.headers[b"content-type"] == b"text/event-stream"
        blocks = []
        while block := await response.next_block():
            blocks.append(block)
        assert len(blocks) > 2
        assert b"".join(blocks).endswith(b"data: [DONE]\n\n")
        assert client.counts() == (1, 1)


async def test_a_body_without_a_length_lasts_until_the_connection_ends():
    async with client_and_server() as (client, server):
        server.script(Reply(wire=b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nall of it"))
        assert await (await post(client, server.url)).read(1 << 20) == b"all of it"


async def test_interim_answers_are_passed_over():
    async with client_and_server() as (client, server):
        early = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
        server.script(Reply(wire=early + b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"))
        response = await post(client, server.url)
        assert (response.status, await response.read(10)) == (200, b"ok")
        assert b"link" not in response.headers


async def test_header_names_are_lower_case_and_repeated_headers_are_joined():
    async with client_and_server() as (client, server):
        server.script(Reply(wire=b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 0\r\n\r\n"))
        assert (await post(client, server.url)).headers[b"x-a"] == b"1, 2"


async def test_a_large_request_arrives_whole():
    async with client_and_server() as (client, server):
        body = orjson.dumps({"messages": [{"role": "user", "content": "x" * 3_000_000}]})
        answer = await (await post(client, server.url, body)).read(8 << 20)
        assert server.calls[0].body == body
        assert len(answer) > 3_000_000
        assert client.counts() == (1, 1)


@pytest.mark.parametrize("reply", [gzipped(b"squeezed"), deflated(b"squeezed"), deflated(b"squeezed", wrapped=False)])
async def test_compressed_answers_are_decoded(reply):
    async with client_and_server() as (client, server):
        server.script(reply)
        assert await (await post(client, server.url)).read(100) == b"squeezed"


@pytest.mark.parametrize("header", [(b"x", b"a\r\nb: c"), (b"x\r\ny", b"a"), (b"x", b"a\nb"), (b"x", b"\0")])
async def test_a_header_that_would_break_the_framing_is_not_sent(header):
    async with client_and_server() as (client, server):
        for headers in ([*HEADERS, header], [header]):
            with pytest.raises(ValueError, match="line break"):
                await post(client, server.url, headers=headers)
        assert server.connections == 0


async def test_closing_the_client_closes_its_connections():
    async with MockUpstream() as server:
        client = Upstream()
        await (await post(client, server.url)).read(1 << 20)
        await client.close()
        assert client.counts() == (0, 0)
        with pytest.raises(UpstreamError, match="closed"):
            await post(client, server.url)
        assert client.counts() == (0, 0)


@pytest.mark.parametrize(
    ("text", "origin", "host", "path"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com:443", b"host: api.openai.com\r\n", b"/v1"),
        ("http://LocalHost:11434/v1/", "http://localhost:11434", b"host: localhost:11434\r\n", b"/v1"),
        ("http://[::1]:8000", "http://[::1]:8000", b"host: [::1]:8000\r\n", b""),
        ("https://bücher.example", "https://xn--bcher-kva.example:443", b"host: xn--bcher-kva.example\r\n", b""),
    ],
)
def test_a_base_url_is_taken_apart(text, origin, host, path):
    url = UpstreamUrl.parse(text)
    assert (url.origin, url.base_path) == (origin, path)
    assert url.fixed_headers.startswith(host)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ftp://x",
        "api.openai.com/v1",
        "https://",
        "https://user:pw@x/v1",
        "https://x/v1?a=b",
        "https://x/#f",
        "https://x/a b",
        "https://x/\r\n",
        "https://x:99999/",
        "https://x:port/",
        "https://x/ü",
        "http://[::1",
    ],
)
def test_a_base_url_that_cannot_be_is_refused_in_words(text):
    with pytest.raises(ValueError, match=r"\w"):
        UpstreamUrl.parse(text)
