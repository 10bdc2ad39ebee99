"""Kept-alive connections by origin: last in, first out, bounded, closed when idle too long."""

import asyncio
from collections import deque

from instance.chute.upstream.connection import Connection
from instance.chute.upstream.limits import Limits


class _Origin:
    __slots__ = ("idle", "open", "waiting")

    def __init__(self) -> None:
        self.idle: list[Connection] = []
        self.open = 0
        """Connections that exist or are being made."""
        self.waiting: deque[asyncio.Future[Connection | None]] = deque()


class Pool:
    """Who may use which connection.

    A caller takes an idle connection (`take_idle`), else reserves the right to open one (`reserve`); every
    reservation ends in `lost`, by the connection or by `cancel_reservation`.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._origins: dict[str, _Origin] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    def take_idle(self, origin: str) -> Connection | None:
        """The most recently used connection that is still good."""
        place = self._origins.get(origin)
        if place is None or not place.idle:
            return None
        while place.idle:
            connection = place.idle.pop()
            if connection.closed:
                continue
            if connection.loop.time() - connection.idle_since < connection.idle_limit_s:
                return connection
            connection.abort()
        return None

    async def reserve(self, origin: str) -> Connection | None:
        """Waits for room: a connection that became free, or None for the right to open one."""
        place = self._origins.setdefault(origin, _Origin())
        if place.open < self._limits.connections_per_origin:
            place.open += 1
            return None
        waiter: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        place.waiting.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._give_back(origin, waiter.result())
            else:
                place.waiting.remove(waiter)
            raise

    def _give_back(self, origin: str, granted: Connection | None) -> None:
        if granted is None:
            self.cancel_reservation(origin)
        else:
            self.release(granted)

    def cancel_reservation(self, origin: str) -> None:
        """The connection that was to be opened was not: the next in the queue may try."""
        place = self._origins[origin]
        while place.waiting:
            waiter = place.waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        place.open -= 1
        if place.open == 0:
            del self._origins[origin]

    def release(self, connection: Connection) -> None:
        """Takes back a connection that is fit for another request."""
        place = self._origins[connection.origin]
        while place.waiting:
            waiter = place.waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        if self._closed or len(place.idle) >= self._limits.idle_per_origin:
            connection.abort()
            return
        loop = connection.loop
        connection.idle_since = loop.time()
        place.idle.append(connection)
        if self._sweep is None:
            self._sweep = loop.call_later(self._limits.idle_s, self._close_expired)

    def lost(self, connection: Connection) -> None:
        """A connection's life is over."""
        place = self._origins[connection.origin]
        if connection in place.idle:
            place.idle.remove(connection)
        self.cancel_reservation(connection.origin)

    def counts(self) -> tuple[int, int]:
        """Connections (open, idle) over all origins."""
        places = self._origins.values()
        return sum(place.open for place in places), sum(len(place.idle) for place in places)

    def close_idle(self) -> None:
        """Closes every connection that no call is using."""
        for place in list(self._origins.values()):
            for connection in place.idle:
                connection.abort()
            place.idle.clear()

    def close(self) -> None:
        """Closes idle connections and keeps none from now on."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        self.close_idle()

    def _close_expired(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for place in list(self._origins.values()):
            expired = [one for one in place.idle if now - one.idle_since >= one.idle_limit_s]
            for connection in expired:
                place.idle.remove(connection)
                connection.abort()
        left = any(place.idle for place in self._origins.values())
        self._sweep = loop.call_later(self._limits.idle_s / 4, self._close_expired) if left else None
