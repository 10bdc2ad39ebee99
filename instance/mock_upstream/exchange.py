"""One call to the mock and the answer to it, as the dialects see them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl

import orjson

from instance.mock_upstream.replies import Reply

if TYPE_CHECKING:
    from instance.mock_upstream.multipart import File
    from instance.mock_upstream.server import MockUpstream

JSON = "application/json"
SSE = "text/event-stream"


@dataclass(slots=True)
class Call:
    """One request as it came."""

    method: str
    path: str
    """With its query, as on the wire."""
    headers: dict[str, str]
    body: bytes
    answered: bool = False
    hung_up: bool = False
    """The caller closed the connection before the answer was whole."""
    connection: int = 0
    """Number of the connection it came on."""

    @property
    def key(self) -> str:
        """The API key, wherever the dialect carries it; of a signature the id of the access key."""
        given = self.headers.get("authorization", "")
        if given.startswith("AWS4-HMAC-SHA256 "):
            return given.partition("Credential=")[2].partition("/")[0]
        for scheme in ("Bearer ", "Token "):
            if given.startswith(scheme):
                return given[len(scheme) :]
        for name in ("x-api-key", "api-key", "x-goog-api-key"):
            if name in self.headers:
                return self.headers[name]
        return given or dict(parse_qsl(self.path.partition("?")[2])).get("key", "")

    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass
class Request:
    """A call on its way through a dialect: `path` is what follows the dialect's prefix."""

    call: Call
    path: str
    parts: dict[str, str]
    """What the route's pattern caught."""
    reply: Reply
    upstream: MockUpstream
    body: Any = None
    """The JSON body, or the form's fields."""
    number: int = 0
    """Of this call, from 1: ids are made of it."""
    files: dict[str, list[File]] = field(default_factory=dict)
    """Of a form, by field."""

    @property
    def root(self) -> str:
        """The address under which the caller reached this server."""
        scheme = "https" if self.upstream.tls else "http"
        host = self.call.headers.get("host")
        return f"{scheme}://{host}" if host else self.upstream.root

    @cached_property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.call.path.partition("?")[2], keep_blank_values=True))


class Event(NamedTuple):
    """A part of a stream. `piece`: it carries a part of the answer, which `stall_after` and its like count."""

    data: bytes
    piece: bool = False


@dataclass(slots=True)
class Response:
    """What is sent: `body`, or `events` one after the other. `failing` is the error event of a stream that breaks off."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = JSON
    events: Iterator[Event] | None = None
    failing: bytes = b""
    paced_by: Reply | None = None
    """The reply whose stall, drop and pace hold, where it was scripted for an earlier call."""


def json_response(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers or {})


def sse(data: Any, event: str = "", piece: bool = False) -> Event:
    """A server-sent event with JSON data."""
    head = f"event: {event}\n".encode() if event else b""
    return Event(head + b"data: " + orjson.dumps(data) + b"\n\n", piece)
