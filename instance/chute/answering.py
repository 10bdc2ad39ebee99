"""Answers as ASGI messages: JSON, errors in the one shape, and refusals before the body was read."""

from __future__ import annotations

import asyncio
from time import perf_counter_ns
from typing import TYPE_CHECKING

import orjson

from instance.chute.answer_head import head_lines
from instance.chute.call_watch import Receive, Send
from instance.chute.exchange import Exchange
from instance.core.errors import StockyardError, error_body

if TYPE_CHECKING:
    from instance.chute.answer import Answer
    from instance.chute.targets import Target

DISCARD_MAX_BYTES = 128 << 20
DISCARD_S = 5.0
WARNINGS_MAX_BYTES = 1024

JSON_TYPE = (b"content-type", b"application/json")

WHOLE_ANSWER = "stockyard.whole_answer"
"""Name of the server's extension that sends a whole answer in one step."""


def answer_lines(x: Exchange, target: Target | None, body_bytes: int) -> bytes | None:
    """The headers of a whole JSON answer as lines; `None` when one of them holds a line break, which only `send` may judge."""
    overhead = perf_counter_ns() - x.started_ns - x.upstream_ns - x.waited_ns
    lines = b"%bcontent-length: %d\r\nx-stockyard-overhead-us: %d\r\n%b" % (
        x.head_lines or head_lines(x),
        body_bytes,
        overhead // 1000 if overhead > 0 else 0,
        b"" if target is None else target.header_lines,
    )
    count = 6 if target is None else 8
    more = x.response_headers
    if x.cache != "off":
        more = [(b"x-stockyard-cache", x.cache.encode()), *more]
    if x.warnings:
        more = [(b"x-stockyard-warnings", warnings_value(x)), *more]
    if x.cost_lines and not x.cost_unknown:
        more = [(b"x-stockyard-cost-usd", b"%.9f" % (x.cost_nano / 1e9)), *more]
    if more:
        lines += b"".join([b"%b: %b\r\n" % header for header in more])
        count += len(more)
    return lines if lines.count(b"\n") == count and lines.count(b"\r") == count else None


def answer_headers(x: Exchange, answer: Answer) -> list[tuple[bytes, bytes]]:
    """The headers of an answer that say whose call it was, who answered and what it took."""
    headers = [(b"x-stockyard-trace-id", x.id.encode()), (b"x-request-id", x.request_id.encode())]
    headers.append((b"request-id", headers[1][1]))
    target = answer.target
    if target is not None:
        headers.append((b"x-stockyard-provider", target.provider.name.encode()))
        headers.append((b"x-stockyard-model", target.model.encode()))
    if x.cache != "off":
        headers.append((b"x-stockyard-cache", x.cache.encode()))
    overhead = perf_counter_ns() - x.started_ns - x.upstream_ns - x.waited_ns
    headers.append((b"x-stockyard-overhead-us", b"%d" % (overhead // 1000 if overhead > 0 else 0)))
    if x.warnings:
        headers.append((b"x-stockyard-warnings", warnings_value(x)))
    headers += x.response_headers
    return headers


def whole_body(x: Exchange, answer: Answer) -> bytes:
    """The answer's bytes in the caller's dialect: those that arrived when they are in it and nothing changed them."""
    operation = x.operation
    if answer.native == operation.dialect and answer.body is not None:
        return operation.rewritten(x, answer) if answer.changed else answer.body
    return operation.whole(x, answer)


def warnings_value(x: Exchange) -> bytes:
    """What `X-Stockyard-Warnings` says."""
    return "; ".join(x.warnings)[:WARNINGS_MAX_BYTES].encode("latin-1", "replace")


class ConnectionCut(Exception):
    """Raised out of the application after an answer had begun that cannot be ended properly: the server closes the connection,
    and the client sees that something is missing. `at_once`: what the client has not taken yet is thrown away."""

    def __init__(self, *, at_once: bool = False) -> None:
        super().__init__()
        self.at_once = at_once


async def send_json(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [JSON_TYPE, (b"content-length", b"%d" % len(body)), *headers],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def send_bytes(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    """An answer that is no JSON; its content type is among `headers`."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-length", b"%d" % len(body)), *headers],
        }
    )
    await send({"type": "http.response.body", "body": body})


def _error_headers(error: StockyardError, request_id: str, trace_id: str) -> list[tuple[bytes, bytes]]:
    headers = [(b"x-request-id", request_id.encode()), (b"request-id", request_id.encode())]
    if trace_id:
        headers.append((b"x-stockyard-trace-id", trace_id.encode()))
    if error.module:
        headers.append((b"x-stockyard-module", error.module.encode()))
    if error.retryable is not None:
        headers.append((b"x-should-retry", b"true" if error.retryable else b"false"))
    headers += [
        (name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in error.headers.items()
    ]
    return headers


async def send_error(
    send: Send,
    error: StockyardError,
    *,
    request_id: str,
    trace_id: str = "",
    extra: list[tuple[bytes, bytes]] | None = None,
    body: bytes | None = None,
) -> None:
    """`body` is the error in another dialect's shape."""
    if body is None:
        body = orjson.dumps(error_body(error, request_id, trace_id))
    await send_json(send, error.status, _error_headers(error, request_id, trace_id) + (extra or []), body)


async def discard_and_refuse(receive: Receive, send: Send, error: StockyardError, x: Exchange, has_body: bool) -> None:
    """Refuse before the body was read: answer at once, then discard what the caller still sends, bounded in bytes and time.

    A caller that writes its whole body before it reads would else see a reset instead of the answer.
    """
    trace_id = x.id if error.code == "body_too_large" else ""
    body = orjson.dumps(x.operation.error(error, x.request_id, trace_id))
    headers = [JSON_TYPE, (b"content-length", b"%d" % len(body)), *_error_headers(error, x.request_id, trace_id)]
    if error.code == "body_too_large":
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    if has_body:
        await send({"type": "http.response.body", "body": body, "more_body": True})
        body = b""
        seen = 0
        try:
            async with asyncio.timeout(DISCARD_S):
                while seen < DISCARD_MAX_BYTES:
                    message = await receive()
                    seen += len(message.get("body", b""))
                    if message["type"] == "http.disconnect" or not message.get("more_body"):
                        break
        except TimeoutError:
            pass
    await send({"type": "http.response.body", "body": body, "more_body": False})
