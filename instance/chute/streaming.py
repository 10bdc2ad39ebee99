"""A provider's streamed answer: held until its first content is there, then passed on block by block."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import orjson

from instance.chute.answer import Answer, Delta
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed
from instance.chute.stream import StreamBroken, has_content
from instance.chute.targets import Target
from instance.chute.upstream import UpstreamError

if TYPE_CHECKING:
    from instance.chute.operation import StreamReader

LAST_BYTES_S = 1.0
"""How long the end of the body may take after the last event before the connection is given up."""


async def streamed(
    x: Exchange, target: Target, response: Any, attempt: dict[str, Any], started: int, splitter: StreamReader
) -> Answer:
    """The answer, once its first content has arrived. Raises `CallFailed` for a stream that ends or fails before it."""
    head: list[Delta] = []
    rest: list[Delta] = []
    waiting = b""
    found = False
    carries = getattr(splitter, "has_content", has_content)
    try:
        while not found and not splitter.done:
            block = waiting or await response.next_block()
            block, waiting = _first_events(block)
            events = splitter.feed(block) if block else splitter.close()
            for place, event in enumerate(events, 1):
                _raise_reported(event, target, response)
                if carries(event):
                    # The first content leaves at once; what came with it in one block is read after that.
                    head += events[:place]
                    rest = events[place:]
                    found = True
                    break
            else:
                head += events
                if not block and not splitter.done:
                    raise CallFailed(
                        "truncated", target, status=200, reason="the stream ended before its first content"
                    )
    except (StreamBroken, AttributeError, TypeError) as error:
        raise CallFailed("bad_response", target, status=200, reason=str(error), headers=response.headers) from error
    now = x.mark_ns = perf_counter_ns()
    x.first_token_ns = now
    x.upstream_ns += now - started
    target.provider.health.observe(True, (now - started) // 1000)
    events_after = _after_head(x, target, response, splitter, [head, rest], waiting, attempt, started)
    if x.lens is not None:
        events_after = x.lens.looked_at(attempt, events_after)
    return Answer(headers=response.headers, events=events_after, target=target, release=response.close)


async def _after_head(
    x: Exchange,
    target: Target,
    response: Any,
    splitter: StreamReader,
    arrived: list[list[Delta]],
    waiting: bytes,
    attempt: dict[str, Any],
    started: int,
) -> AsyncIterator[list[Delta]]:
    attempt["error"] = "cancelled"
    try:
        for index, events in enumerate(arrived):
            if splitter.done and (index or not arrived[1]):
                _complete(attempt, started)
            for place, event in enumerate(events):
                if _is_report(event):
                    yield events[:place]
                    _raise_reported(event, target, response)
            if events:
                yield events
        while not splitter.done:
            if waiting:
                block, waiting = waiting, b""
            else:
                before = perf_counter_ns()
                try:
                    block = await response.next_block()
                finally:
                    x.upstream_ns += perf_counter_ns() - before
            events = splitter.feed(block) if block else splitter.close()
            for place, event in enumerate(events):
                if _is_report(event):
                    yield events[:place]
                    _raise_reported(event, target, response)
            if splitter.done:
                _complete(attempt, started)
            if events:
                yield events
            if not block:
                if not splitter.done and not x.state.get("finished"):
                    raise CallFailed("truncated", target, status=200, reason="the stream ended without its last event")
                _complete(attempt, started)
                return
        # The end of the body follows the last event; once it is read the connection goes back to the pool.
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_BYTES_S):
                await response.next_block()
    except StreamBroken as error:
        attempt["error"] = "bad_response"
        raise CallFailed("bad_response", target, status=200, reason=str(error)) from error
    except UpstreamError as error:
        attempt["error"] = error.kind
        raise CallFailed(error.kind, target, status=200, reason=str(error)) from error
    except CallFailed as failure:
        attempt["error"] = failure.kind
        raise
    finally:
        if attempt["duration_ms"] is None:
            attempt["duration_ms"] = (perf_counter_ns() - started) / 1e6
        response.close()


def _first_events(block: bytes) -> tuple[bytes, bytes]:
    """The first two events of a block, a role and the first content as a rule, and what follows them."""
    end = block.find(b"\n\n")
    if end >= 0:
        end = block.find(b"\n\n", end + 2)
    return (block, b"") if end < 0 else (block[: end + 2], block[end + 2 :])


def _is_report(event: Delta) -> bool:
    """Whether the event is an error that the provider reports inside its stream."""
    obj = event.obj
    return obj is not None and "error" in obj and bool(obj["error"])


def _raise_reported(event: Delta, target: Target, response: Any) -> None:
    if not _is_report(event):
        return
    obj = event.obj or {}
    error = obj["error"]
    status = (error.get("status") or error.get("code")) if isinstance(error, dict) else 0
    if type(status) is not int or not 400 <= status < 600:
        status = 502
    raise CallFailed("http", target, status=status, headers=response.headers, body=orjson.dumps(obj))


def _complete(attempt: dict[str, Any], started: int) -> None:
    attempt["error"] = None
    attempt["duration_ms"] = (perf_counter_ns() - started) / 1e6
