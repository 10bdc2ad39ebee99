"""Draining: what runs is finished and no connection stays open, so that the instance can be paused or stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from instance.brand.ledger import head

if TYPE_CHECKING:
    from instance.server import Instance

POLL_S = 0.005
RESTING_S = 1.5  # the edge gives up a connection that rests for a second, see deploy/Caddyfile
FOLD_S = 2.0
DEADLINE_MAX_S = 600.0


class Connection(Protocol):
    """A connection of the server."""

    def shutdown(self) -> None:
        """Close it now if no request runs on it, else after the answer."""


def close_idle(connections: Iterable[Connection]) -> None:
    """Close the connections on which nothing runs; the others are closed after their answer."""
    for connection in list(connections):
        connection.shutdown()


async def drain(instance: Instance, deadline_s: float) -> dict[str, Any]:
    """Drain the instance; the answer of `POST /api/instance/drain`.

    Calls that still come are answered with `Connection: close`; when some still run at the deadline, new ones are refused.
    Connections that rest are left for the caller to end, for a while: were one closed from here, a call could just be on
    its way in, and would be lost.
    """
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + deadline_s
    instance.draining = True
    last_call_at = loop.time()
    while loop.time() < min(ends_at, last_call_at + RESTING_S):
        if instance.in_flight:
            last_call_at = loop.time()
        elif len(instance.connections) <= 1:  # the one that asks to drain
            break
        await asyncio.sleep(POLL_S)
    in_flight = instance.in_flight
    close_idle(instance.connections)
    if in_flight:
        instance.chute.drain()
    with suppress(TimeoutError):
        async with asyncio.timeout(max(FOLD_S, ends_at - loop.time())):
            await instance.core.writer.drain()
    seq, own_hash = await instance.core.database.read(head)
    return {
        "drained": in_flight == 0 and instance.core.writer.idle,
        "in_flight": in_flight,
        "journal_bytes": instance.core.writer.lag_bytes,
        "ledger": {"seq": seq, "hash": own_hash.hex()},
    }


def resume(instance: Instance) -> None:
    """Undo `drain`."""
    instance.draining = False
    instance.chute.resume()
