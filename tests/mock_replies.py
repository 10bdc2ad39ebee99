"""What the mock upstream can be told to answer: good answers, slow ones, and every kind of broken one."""

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson


@dataclass(slots=True)
class Reply:
    """One scripted answer. `text`, `pieces` and `tool_call` are sent whole or streamed, as the call asks."""

    text: str | None = None
    pieces: list[str] | None = None
    tool_call: tuple[str, dict[str, Any]] | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    content_type: str = "application/json"
    wire: bytes | None = None
    """Sent as it is, head and all; the connection is closed after it."""
    delay_s: float = 0.0
    """Before the first byte."""
    piece_delay_s: float = 0.0
    stall_after: int | None = None
    """Streams: pieces after which nothing more comes until the caller hangs up."""
    drop_after: int | None = None
    """Streams: pieces, plain answers: body bytes, after which the connection is cut."""
    usage: dict[str, int] | None = None


def text(content: str, **more: Any) -> Reply:
    return Reply(text=content, **more)


def status(code: int, message: str = "scripted failure", headers: dict[str, str] | None = None) -> Reply:
    error = {"error": {"message": message, "type": "server_error", "param": None, "code": None}}
    return Reply(status=code, headers=headers or {}, body=orjson.dumps(error))


def delay(seconds: float, content: str | None = None) -> Reply:
    return Reply(text=content, delay_s=seconds)


def stall(after: int, content: str | None = None) -> Reply:
    return Reply(text=content, stall_after=after)


def drop(after: int = 0, content: str | None = None) -> Reply:
    return Reply(text=content, drop_after=after)


def hang_up() -> Reply:
    """The connection is closed without a byte."""
    return Reply(wire=b"")


def tool(name: str, arguments: dict[str, Any]) -> Reply:
    return Reply(tool_call=(name, arguments))


def chunks(pieces: Sequence[str], piece_delay_s: float = 0.0) -> Reply:
    return Reply(pieces=list(pieces), piece_delay_s=piece_delay_s)


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
