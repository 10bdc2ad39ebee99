"""Calls that the instance makes through its own endpoint, for a caller who is known already: a queued job, a call sent again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from instance.chute.operations import operation_of
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.app import Chute
    from instance.chute.exchange import Exchange
    from instance.core.principals import Principal

OWN_CALL = "stockyard.own_call"
"""Name of the scope's extension that says for whom the call is made; no request that arrives can carry it."""

NOT_PASSED_ON = frozenset(
    (
        b"authorization",
        b"x-api-key",
        b"api-key",
        b"x-stockyard-key",
        b"cookie",
        b"content-length",
        b"transfer-encoding",
        b"connection",
        b"host",
        b"accept-encoding",
        b"expect",
        b"x-forwarded-for",
        b"x-real-ip",
    )
)
"""Headers of a call that are not repeated when it is made anew."""


@dataclass(frozen=True, slots=True)
class OwnCall:
    """For whom a call is made. `admitted`: it came through admission before, whose modules and rate do not see it again.
    `begin` is called with the exchange once its labels are read."""

    principal: Principal
    admitted: bool = False
    begin: Callable[[Exchange], None] | None = None


@dataclass(slots=True)
class OwnAnswer:
    """What came back; names of headers are in lower case."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def trace_id(self) -> str:
        return self.headers.get("x-stockyard-trace-id", "")


async def make_call(chute: Chute, path: str, body: bytes, headers: Mapping[bytes, bytes], own: OwnCall) -> OwnAnswer:
    """The answer of `POST path`, whatever its status; it is observed, checked and charged like any other call.

    Raises `not_found` for a path that takes no call.
    """
    operation = operation_of(path)
    if operation is None:
        raise StockyardError("not_found", f"There is no call {path!r}.")
    answer = OwnAnswer()
    pieces: list[bytes] = []
    given = False

    async def receive() -> MutableMapping[str, Any]:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": body, "more_body": False}
        await asyncio.Event().wait()  # nobody hangs up; who asks is cancelled with the call
        raise AssertionError

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {
                name.decode("latin-1").lower(): value.decode("latin-1") for name, value in message["headers"]
            }
        else:
            pieces.append(message.get("body", b""))

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "headers": [*headers.items(), (b"content-length", b"%d" % len(body))],
        "client": None,
        "extensions": {OWN_CALL: own},
    }
    await chute.endpoint.call(scope, receive, send, path, operation)
    answer.body = b"".join(pieces)
    return answer
