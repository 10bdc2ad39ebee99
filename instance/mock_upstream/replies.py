"""What the mock upstream can be told to answer: good answers, slow ones, and every kind of broken one.

A reply says *what* is answered; the dialect of the path that was called says in which form.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Failure:
    """A refusal, before it takes a provider's form. `path` is where in the body the offending field is."""

    status: int
    message: str
    code: str | None = None
    kind: str | None = None
    param: str | None = None
    path: tuple[str | int, ...] = ()
    retry_after_s: float | None = None
    details: Mapping[str, Any] | None = None
    """More fields of the error object, as the provider would add them."""


@dataclass(slots=True)
class Reply:
    """One scripted answer, sent whole or streamed, as the call asks."""

    text: str | None = None
    pieces: list[str] | None = None
    tool_call: tuple[str, Any] | None = None
    tool_calls: list[tuple[str, Any]] = field(default_factory=list)
    """Several at once. Arguments are an object, or a string sent as it is."""
    reasoning: str | None = None
    """Thinking text, before the answer, where the dialect has it."""
    finish: str | None = None
    """OpenAI's name of the end (stop, length, tool_calls, content_filter) or the provider's own, sent as it is."""
    usage: dict[str, Any] | None = None
    """In OpenAI's form, with its `*_details`; each dialect says it in its own."""
    citations: list[dict[str, Any]] = field(default_factory=list)
    """Sources: `{"url", "title"}`; where the dialect marks text, also `start`, `end`, `text`."""
    blocked: str | None = None
    """The prompt is refused by a content filter: the provider's reason (Google: SAFETY), told in its own form."""
    failure: Failure | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """Sent instead of what the dialect would answer."""
    content_type: str = "application/json"
    wire: bytes | None = None
    """Sent as it is, head and all; the connection is closed after it."""
    lead: bytes = b""
    """Sent before a whole body's first byte, a piece every `piece_delay_s`, as providers keep a connection alive."""
    delay_s: float = 0.0
    """Before the first byte."""
    polls: int | None = None
    """Replicate: how often a prediction must be asked for until it is done; 0 when the call waits for it, else 2."""
    piece_delay_s: float = 0.0
    stall_after: int | None = None
    """Streams: pieces after which nothing more comes until the caller hangs up."""
    drop_after: int | None = None
    """Streams: pieces, plain answers: body bytes, after which the connection is cut."""
    fail_after: int | None = None
    """Streams: pieces after which `failure` comes as the dialect's own error event."""
    mangle: Callable[[int, bytes], bytes] | None = None
    """Streams: what is sent instead of the event of this number, from 0."""
    slice_bytes: int = 0
    """Streams: sent in writes of so many bytes, wherever the events' borders are."""
    more: dict[str, Any] = field(default_factory=dict)
    """Fields laid over the answer's own at its top level (of every event, in a stream of OpenAI's form)."""


def text(content: str, **more: Any) -> Reply:
    return Reply(text=content, **more)


def status(
    code: int,
    message: str = "scripted failure",
    headers: dict[str, str] | None = None,
    *,
    error_code: str | None = None,
    kind: str | None = None,
    param: str | None = None,
    retry_after_s: float | None = None,
    details: Mapping[str, Any] | None = None,
) -> Reply:
    """An error in the dialect's own form; `retry_after_s` is told as that provider tells it."""
    failure = Failure(code, message, error_code, kind, param, retry_after_s=retry_after_s, details=details)
    return Reply(status=code, headers=headers or {}, failure=failure)


def failing(after: int, code: int = 529, message: str = "scripted failure", content: str | None = None) -> Reply:
    """A stream that begins well and ends with the dialect's error event after so many pieces."""
    return Reply(text=content, fail_after=after, failure=Failure(code, message))


def delay(seconds: float, content: str | None = None) -> Reply:
    return Reply(text=content, delay_s=seconds)


def stall(after: int, content: str | None = None) -> Reply:
    return Reply(text=content, stall_after=after)


def drop(after: int = 0, content: str | None = None) -> Reply:
    return Reply(text=content, drop_after=after)


def hang_up() -> Reply:
    """The connection is closed without a byte."""
    return Reply(wire=b"")


def tool(name: str, arguments: Any, **more: Any) -> Reply:
    return Reply(tool_calls=[(name, arguments)], **more)


def tools(*calls: tuple[str, Any], **more: Any) -> Reply:
    """Parallel tool calls."""
    return Reply(tool_calls=list(calls), **more)


def thinking(reasoning: str, content: str | None = None, **more: Any) -> Reply:
    return Reply(reasoning=reasoning, text=content, **more)


def blocked(reason: str = "SAFETY") -> Reply:
    """A prompt that the provider's content filter refuses."""
    return Reply(blocked=reason)


def chunks(pieces: Sequence[str], piece_delay_s: float = 0.0, **more: Any) -> Reply:
    return Reply(pieces=list(pieces), piece_delay_s=piece_delay_s, **more)


def html(code: int = 502) -> Reply:
    page = b"<html><head><title>Bad gateway</title></head><body><h1>Bad gateway</h1></body></html>"
    return Reply(status=code, body=page, content_type="text/html")


def truncated_json() -> Reply:
    """Well-framed, but the JSON stops in the middle."""
    return Reply(body=b'{"id": "chatcmpl-1", "object": "chat.completion", "choices": [{"index": 0, "mess')


def wrong_length(announced: int, body: bytes = b'{"a": 1}') -> Reply:
    """A content-length that the body does not have; the connection closes after the body."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % announced
    return Reply(wire=head + body)


def truncated_chunked() -> Reply:
    """A chunked body without its last chunk."""
    return Reply(wire=b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n8\r\n" + b'{"a": 1,' + b"\r\n")


def garbage() -> Reply:
    return Reply(wire=b"\x16\x03\x01\x02\x00 this is not HTTP\r\n\r\n")


def gzipped(body: bytes) -> Reply:
    return Reply(body=gzip.compress(body), headers={"content-encoding": "gzip"})


def deflated(body: bytes, *, wrapped: bool = True) -> Reply:
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)
    return Reply(body=packer.compress(body) + packer.flush(), headers={"content-encoding": "deflate"})


def gzip_bomb(megabytes: int = 64) -> Reply:
    return gzipped(bytes(megabytes * 1024 * 1024))
