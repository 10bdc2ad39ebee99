"""Answers that nobody waits for: a call that is refused is read to its end before it is told so.

Who answers while a body is still coming, and then closes, resets the connection: its caller finds that its own sending failed,
and never sees the answer (RFC 9112, 9.6). What is read is dropped, so it costs no memory; how much, how long and for
how many callers at once is bounded, and beyond a bound the answer is given all the same and the connection closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from control_plane.routing.answers import Send
from control_plane.routing.caller import Receive


@dataclass(frozen=True, slots=True)
class DropLimits:
    """How far bodies that nobody takes are read."""

    calls: int = 1024  # at one moment
    body_bytes: int = 64 << 20  # of each
    seconds: float = 10.0  # for each


class Drops:
    """Counts the bodies that are being read and dropped."""

    def __init__(self, limits: DropLimits) -> None:
        self.limits = limits
        self.under_way = 0

    async def drop(self, receive: Receive) -> None:
        """Read until the body is whole, its caller has left, or a bound is reached."""
        if self.under_way >= self.limits.calls:
            return
        self.under_way += 1
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.limits.seconds):
                    await self._read(receive)
        finally:
            self.under_way -= 1

    async def _read(self, receive: Receive) -> None:
        left_bytes = self.limits.body_bytes
        while left_bytes >= 0:
            message = await receive()
            if message["type"] == "http.disconnect" or not message.get("more_body", False):
                return
            left_bytes -= len(message.get("body", b""))


class Exchange:
    """One call's `receive`, watched for the end of its body, and two ways to answer.

    `send` begins at once, for an instance that has the body; `send_after_body` is for what is said without one.
    """

    def __init__(self, receive: Receive, send: Send, drops: Drops) -> None:
        self._receive = receive
        self.send = send
        self._drops = drops
        self._whole = False

    async def receive(self) -> MutableMapping[str, Any]:
        """The next part of the body, or the news that the caller hung up."""
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            self._whole = True
        return message

    async def send_after_body(self, message: MutableMapping[str, Any]) -> None:
        """Answer when what is left of the body was dropped; the last answer of this connection if it did not end."""
        if message["type"] == "http.response.start" and not self._whole:
            await self._drops.drop(self.receive)
            if not self._whole:
                message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
        await self.send(message)
