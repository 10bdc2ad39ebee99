"""Reading a request's body, bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from instance.chute.call_watch import Receive


class BodyTooLarge(Exception):
    """The request's body is over the limit; what follows of it is discarded."""


async def read_body(headers: Mapping[bytes, bytes], receive: Receive, limit: int) -> bytes:
    """The request's body; raises `BodyTooLarge`, and `CancelledError` when the caller left."""
    declared = headers.get(b"content-length")
    if declared is not None and declared.isdigit() and int(declared) > limit:
        raise BodyTooLarge
    message = await receive()
    if message["type"] == "http.disconnect":
        raise asyncio.CancelledError
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        chunks = [body]
        size = len(body)
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise asyncio.CancelledError
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > limit:
                raise BodyTooLarge
            chunks.append(chunk)
            if not message.get("more_body"):
                break
        body = b"".join(chunks)
    elif len(body) > limit:
        raise BodyTooLarge
    return body
