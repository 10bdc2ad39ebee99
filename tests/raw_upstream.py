"""An upstream that speaks bytes: for what no proper server would send."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Talk = Callable[[asyncio.StreamWriter], Awaitable[None]]

CHAT_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"


class RawUpstream:
    """Reads one request of each connection and then lets `talk` write what it likes. `gone` counts callers who hung up."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self.calls = 0
        self.gone = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
            )
            await reader.readexactly(length)
            self.calls += 1
            await self._talk(writer)
        except (ConnectionError, asyncio.IncompleteReadError, RuntimeError):
            # RuntimeError is uvloop's word for a transport that is closed already.
            self.gone += 1
        finally:
            writer.close()


@asynccontextmanager
async def raw_upstream(talk: Talk) -> AsyncIterator[RawUpstream]:
    """A running one, on a free port."""
    upstream = RawUpstream(talk)
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    upstream.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield upstream
    finally:
        server.close()


def dripping(head: bytes, body: bytes, every_s: float = 0.02) -> Talk:
    """The head at once, then the body byte by byte."""

    async def talk(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        for place in range(len(body)):
            writer.write(body[place : place + 1])
            await writer.drain()
            await asyncio.sleep(every_s)

    return talk


async def endless_headers(writer: asyncio.StreamWriter) -> None:
    """A head that never ends."""
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(10_000_000):
        writer.write(b"x-endless-%d: %s\r\n" % (number, b"a" * 100))
        await writer.drain()
