"""`Idempotency-Key` on `POST /api/*`: the first answer is repeated, never the work."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from control_plane.api.answers import error_answer
from control_plane.api.frame import is_upload
from control_plane.api.plane import Plane
from control_plane.errors import CloudError
from control_plane.keys import digest
from control_plane.store import idempotency
from control_plane.store.idempotency import Kept

SECRETS = ("api_key", "admin_key", "account_key", "key", "token")
KEY_MAX = 128


class Idempotent:
    """ASGI middleware inside `Frame`, which bounds the body it buffers. A refusal is not kept: it may be tried again."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        key = headers.get("idempotency-key")
        if key is None or scope["method"] != "POST" or not scope["path"].startswith("/api/") or _streams(scope):
            await self._app(scope, receive, send)
            return
        try:
            if not 1 <= len(key) <= KEY_MAX:
                raise CloudError("bad_request", f"an Idempotency-Key has 1 to {KEY_MAX} characters")
            await self._once(scope, receive, send, key, _caller(scope, headers))
        except CloudError as error:
            await error_answer(error, scope.get("request_id", ""))(scope, receive, send)

    async def _once(self, scope: Scope, receive: Receive, send: Send, key: str, caller: str) -> None:
        plane: Plane = scope["app"].state.plane
        body = await _whole(receive)
        target = scope["path"].encode() + b"?" + scope.get("query_string", b"") + b"\n"
        request = hashlib.sha256(target + body).hexdigest()
        kept = await plane.database.write(lambda connection: idempotency.begin(connection, caller, key, request))
        if kept is not None:
            await _repeat(kept, scope, receive, send)
            return
        answer = _Answer(send)
        outcome: Kept | None = None
        try:
            await self._app(scope, _replay(body, receive), answer.send)
            outcome = answer.kept()
        finally:
            await plane.database.write(lambda connection: idempotency.finish(connection, caller, key, outcome))


class _Answer:
    """Passes an answer on and remembers it."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._status = 500
        self._body = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
        elif message["type"] == "http.response.body":
            self._body += message.get("body", b"")
        await self._send(message)

    def kept(self) -> Kept | None:
        """What may be repeated: a success, without its secrets."""
        if not 200 <= self._status < 300:
            return None
        content: Any = orjson.loads(self._body or b"null")
        if isinstance(content, dict) and any(name in content for name in SECRETS):
            return Kept(self._status, orjson.dumps({"id": content.get("id")}).decode(), True)
        return Kept(self._status, self._body.decode(), False)


async def _repeat(kept: Kept, scope: Scope, receive: Receive, send: Send) -> None:
    if kept.secret:
        details = orjson.loads(kept.answer)
        message = f"this request was carried out: {details['id']} exists; its keys were shown once, in that answer"
        raise CloudError("already_created", message, details=details)
    headers = [(b"content-type", b"application/json"), (b"idempotency-replayed", b"true")]
    await send({"type": "http.response.start", "status": kept.status, "headers": headers})
    await send({"type": "http.response.body", "body": kept.answer.encode()})


def _streams(scope: Scope) -> bool:
    """Files too large to be kept. Asked for again, an export is another one, and an import is told that its slug is taken."""
    return is_upload(scope) or scope["path"].endswith("/export")


def _caller(scope: Scope, headers: Headers) -> str:
    """Whose keys these are: one credential's, or one address's where there is none."""
    authorization = headers.get("authorization")
    if authorization:
        return "key:" + digest(authorization.partition(" ")[2].strip())
    return "address:" + str((scope.get("client") or ("?",))[0])


async def _whole(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
