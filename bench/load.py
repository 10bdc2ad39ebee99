"""The load: a blocking client for one connection, whose latencies are exact, and an event-driven one for many."""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import time
from dataclasses import dataclass

import uvloop


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, ready to send: where, and its bytes."""

    port: int
    data: bytes


def chat_request(
    port: int,
    model: str,
    key: str = "",
    *,
    stream: bool = False,
    prompt: str = "",
    headers: dict[str, str] | None = None,
) -> Request:
    """A chat call of about 400 bytes, or with `prompt` as long as that is."""
    text = prompt or (
        "Summarise for a newcomer what a stockyard is, what it is for, and how the animals that are kept there are fed and "
        "watered, in two or three plain sentences without any list."
    )
    body = {
        "model": model,
        "messages": [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": text}],
        "temperature": 0.7,
        "max_tokens": 200,
    }
    if stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    raw = json.dumps(body, separators=(",", ":")).encode()
    lines = [
        "POST /v1/chat/completions HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Content-Type: application/json",
        f"Content-Length: {len(raw)}",
        f"Authorization: Bearer {key or 'none'}",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    return Request(port, ("\r\n".join(lines) + "\r\n\r\n").encode() + raw)


class Client:
    """One kept-alive connection; each call blocks until its answer is whole."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._socket = socket.create_connection(("127.0.0.1", request.port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def call(self) -> tuple[int, int]:
        """Nanoseconds to the first byte of the body and to its end. Raises `RuntimeError` for any status but 200."""
        sock = self._socket
        started = time.perf_counter_ns()
        sock.sendall(self._request.data)
        buffer = b""
        while b"\r\n\r\n" not in buffer:
            block = sock.recv(65536)
            if not block:
                raise RuntimeError("the server closed the connection")
            buffer += block
        head, _, body = buffer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(buffer[:500].decode("utf-8", "replace"))
        lower = head.lower()
        chunked = b"transfer-encoding: chunked" in lower
        length = -1 if chunked else int(lower.split(b"content-length:")[1].split(b"\r\n")[0])
        while not body:
            body = sock.recv(65536)
        first = time.perf_counter_ns() - started
        if chunked:
            while not body.endswith(b"0\r\n\r\n"):
                body += sock.recv(65536)
        else:
            while len(body) < length:
                body += sock.recv(65536)
        return first, time.perf_counter_ns() - started

    def close(self) -> None:
        self._socket.close()


class _Connection(asyncio.Protocol):
    """Sends its request again as soon as the answer is whole; counts, and keeps every latency."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.buffer = b""
        self.started = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        self.buffer = b""
        self.started = time.perf_counter_ns()
        self.transport.write(self.load.request.data)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        buffer = self.buffer = self.buffer + data if self.buffer else data
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        if self.load.stream:
            if not buffer.endswith(b"0\r\n\r\n"):
                return
        else:
            at = buffer.find(b"ontent-length: ", 0, end)
            if at < 0:
                at = buffer.find(b"ontent-Length: ", 0, end)
            if len(buffer) < end + 4 + int(buffer[at + 15 : buffer.find(b"\r\n", at)]):
                return
        load = self.load
        if buffer[9:12] != b"200":
            load.failed += 1
        load.latencies.append(time.perf_counter_ns() - self.started)
        if not load.over:
            self.send()
        else:
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.load.open -= 1
        if not self.load.open:
            self.load.done.set_result(None)


class Load:
    """Calls over many connections at once, for a time."""

    def __init__(self, request: Request, connections: int, stream: bool) -> None:
        self.request = request
        self.open = connections
        self.stream = stream
        self.over = False
        self.failed = 0
        self.latencies: list[int] = []

    async def run(self, seconds: float) -> dict[str, float]:
        """Calls per second, failed calls, median and p99 in microseconds; a warm-up of half a second is left out."""
        loop = asyncio.get_running_loop()
        self.done = loop.create_future()
        for _ in range(self.open):
            await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self.request.port)
        await asyncio.sleep(0.5)
        self.latencies.clear()
        started = time.perf_counter()
        await asyncio.sleep(seconds)
        took = time.perf_counter() - started
        self.over = True
        latencies = sorted(self.latencies)
        await self.done
        return {
            "requests_per_s": len(latencies) / took,
            "requests": len(latencies),
            "failed": self.failed,
            "p50_us": latencies[len(latencies) // 2] / 1000,
            "p99_us": latencies[len(latencies) * 99 // 100] / 1000,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--key", default="")
    parser.add_argument("--header", action="append", default=[], help="NAME=VALUE")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--stream", action="store_true")
    options = parser.parse_args()
    headers = dict(pair.split("=", 1) for pair in options.header)
    request = chat_request(options.port, options.model, options.key, stream=options.stream, headers=headers)
    print(json.dumps(uvloop.run(Load(request, options.connections, options.stream).run(options.seconds))))


if __name__ == "__main__":
    main()
