"""`Idempotency-Key` on `POST /api/*`: the first answer is kept for a day and given again for the same key and body."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import orjson

from instance.core.errors import StockyardError
from instance.core.principals import CLIENT_TEAM
from instance.core.timestamps import NS_PER_S
from instance.system.credentials import identify, presented_key
from instance.system.raw_http import Message, Receive, Scope, Send, send_body

if TYPE_CHECKING:
    from instance.server import Instance

KEPT_NS = 86_400 * NS_PER_S
KEY_MAX_CHARACTERS = 128
ANSWER_MAX_BYTES = 64 << 10
SECRET_FIELDS = ("key", "secret", "api_key")
NO_STORE = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"), (b"idempotent-replay", b"true"))

Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]
Place = tuple[bytes, str, str]


class Idempotency:
    """Lets a POST through once. Two at a time with the same key: the second waits for the first."""

    def __init__(self, instance: Instance) -> None:
        self._core = instance.core
        self._open = instance.open_principal is not None
        self._running: dict[Place, asyncio.Lock] = {}

    async def __call__(self, api: Asgi, scope: Scope, receive: Receive, send: Send, body: bytes) -> None:
        """Call `api`, or answer as it answered the first time. Raises `idempotency_conflict`, `already_created`."""
        given = dict(scope["headers"]).get(b"idempotency-key") if scope["method"] == "POST" else None
        if given is None:
            await api(scope, receive, send)
            return
        team = "" if self._open else identify(self._core, scope["headers"]).team
        place = _place(scope, given, team if team.startswith(CLIENT_TEAM) else "")
        lock = self._running.setdefault(place, asyncio.Lock())
        try:
            async with lock:
                if not await self._repeat(place, body, scope, send):
                    await self._first(place, body, api, scope, receive, send)
        finally:
            if not lock.locked():
                self._running.pop(place, None)

    async def _repeat(self, place: Place, body: bytes, scope: Scope, send: Send) -> bool:
        oldest = self._core.clock.wall_ns() - KEPT_NS
        row = await self._core.database.read(lambda connection: _find(connection, place, oldest))
        if row is None:
            return False
        body_digest, status, answer, holds_secret = row
        if body_digest != sha256(body).digest():
            raise StockyardError("idempotency_conflict", "This Idempotency-Key was used with another body.")
        if holds_secret:
            made = orjson.loads(answer)
            message = "It was created already by this Idempotency-Key; its secret is not shown again."
            raise StockyardError("already_created", message, details={"id": made.get("id")})
        await send_body(scope, send, status, answer, NO_STORE)
        return True

    async def _first(self, place: Place, body: bytes, api: Asgi, scope: Scope, receive: Receive, send: Send) -> None:
        status = 0
        chunks: list[bytes] = []

        async def keep(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                chunks.append(message.get("body", b""))
            await send(message)

        await api(scope, receive, keep)
        answer = b"".join(chunks)
        if not 200 <= status < 300 or len(answer) > ANSWER_MAX_BYTES:
            return
        kept, holds_secret = _without_secrets(answer)
        now = self._core.clock.wall_ns()
        row = (*place, sha256(body).digest(), status, kept, holds_secret, now)
        await self._core.writer.write(lambda connection: _keep(connection, row, now - KEPT_NS))


def _place(scope: Scope, given: bytes, client: str) -> Place:
    key = given.decode("latin-1")
    if not 1 <= len(key) <= KEY_MAX_CHARACTERS or not key.isprintable():
        message = f"`Idempotency-Key` must have 1 to {KEY_MAX_CHARACTERS} printable characters."
        raise StockyardError("bad_request", message, param="Idempotency-Key")
    return sha256(f"{presented_key(scope['headers'])}{client}".encode()).digest(), key, scope["path"]


def _without_secrets(answer: bytes) -> tuple[bytes, bool]:
    document: Any = orjson.loads(answer)
    if not isinstance(document, dict):
        return answer, False
    holders = [document, *(inner for inner in document.values() if isinstance(inner, dict))]
    found = False
    for holder in holders:
        for name in SECRET_FIELDS:
            if isinstance(holder.get(name), str):
                del holder[name]
                found = True
    return (orjson.dumps(document), True) if found else (answer, False)


def _find(connection: sqlite3.Connection, place: Place, oldest_ns: int) -> tuple[Any, ...] | None:
    row: tuple[Any, ...] | None = connection.execute(
        "SELECT body_digest, status, answer, holds_secret FROM idempotent_answers "
        "WHERE caller = ? AND key = ? AND path = ? AND created_at_ns > ?",
        (*place, oldest_ns),
    ).fetchone()
    return row


def _keep(connection: sqlite3.Connection, row: tuple[Any, ...], oldest_ns: int) -> None:
    connection.execute("DELETE FROM idempotent_answers WHERE created_at_ns <= ?", (oldest_ns,))
    connection.execute("INSERT OR REPLACE INTO idempotent_answers VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
