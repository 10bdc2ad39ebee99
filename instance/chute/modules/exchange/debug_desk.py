"""What developers watch: the latest calls, who is watched for how long, and the calls that are held for them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from instance.chute.answer import JSON
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.modules.exchange.lens import Lens
    from instance.core.clock import Clock

NS = 1_000_000_000
KEPT_MAX_BYTES = 64 << 20
"""Of all calls together; the oldest are forgotten beyond it."""
SWITCHES_MAX = 1000
WATCHERS_MAX = 64
EVENTS_MAX = 1000
"""Events that a watcher may be behind; more are dropped, and it is told how many."""
HELD_MAX = 1000


@dataclass(slots=True)
class Watcher:
    """One who watches live. An event is `(name, lens, data)`, `None` the end."""

    events: asyncio.Queue[tuple[str, Lens, JSON] | None]
    lagged: int = 0


class DebugDesk:
    """Lives as long as the module is on, whatever its settings become."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.calls: OrderedDict[str, Lens] = OrderedDict()
        self.switches: dict[str, int] = {}
        """Key -> wall nanoseconds until which all its calls are watched."""
        self.breakpoints: set[str] = set()
        """Keys whose calls are held."""
        self.held: dict[str, asyncio.Future[JSON | None]] = {}
        """Trace id -> what the call is released with: an edited request, or nothing."""
        self._watchers: list[Watcher] = []

    def keep(self, lens: Lens, ring: int) -> None:
        """Put a call on top; the oldest make room."""
        self.calls[lens.id] = lens
        size = sum(call.size_bytes for call in self.calls.values())
        while len(self.calls) > ring or (size > KEPT_MAX_BYTES and len(self.calls) > 1):
            _, gone = self.calls.popitem(last=False)
            size -= gone.size_bytes

    def switch_on(self, key_id: str, seconds: float) -> int:
        """Watch all calls of a key for so long; until when, in wall nanoseconds."""
        now = self._clock.wall_ns()
        self.switches = {key: until for key, until in self.switches.items() if until > now}
        if len(self.switches) >= SWITCHES_MAX and key_id not in self.switches:
            raise StockyardError("conflict", f"{SWITCHES_MAX} keys are watched; switch one off first.")
        self.switches[key_id] = now + round(seconds * NS)
        return self.switches[key_id]

    def switch_off(self, key_id: str) -> bool:
        """Whether it was on."""
        self.breakpoints.discard(key_id)
        return self.switches.pop(key_id, 0) > self._clock.wall_ns()

    def is_on(self, key_id: str) -> bool:
        until = self.switches.get(key_id)
        return until is not None and until > self._clock.wall_ns()

    async def hold(self, lens: Lens, seconds: float) -> JSON | None:
        """Wait until the call is released, with an edited request if there is one. Raises `breakpoint_timeout`."""
        if len(self.held) >= HELD_MAX:
            return None
        released: asyncio.Future[JSON | None] = asyncio.get_running_loop().create_future()
        self.held[lens.id] = released
        lens.held = True
        self.told("held", lens, {"at_ms": lens.since_ms()})
        limit = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait((released, limit), return_when=asyncio.FIRST_COMPLETED)
            if released.done():
                return released.result()
        finally:
            limit.cancel()
            lens.held = False
            del self.held[lens.id]
        raise StockyardError(
            "breakpoint_timeout", f"The call was held at a breakpoint, and nobody released it within {seconds:g} s."
        )

    def release(self, trace_id: str, edited: JSON | None) -> bool:
        """Let a held call go on; whether it was held."""
        released = self.held.get(trace_id)
        if released is None or released.done():
            return False
        released.set_result(edited)
        return True

    def told(self, event: str, lens: Lens, data: JSON) -> None:
        """Tell all who watch; who is too far behind misses it."""
        for watcher in self._watchers:
            try:
                watcher.events.put_nowait((event, lens, data))
            except asyncio.QueueFull:
                watcher.lagged += 1

    def watch(self) -> Watcher:
        """Begin to watch. Raises `conflict` when too many do."""
        if len(self._watchers) >= WATCHERS_MAX:
            raise StockyardError("conflict", f"{WATCHERS_MAX} watch already.")
        watcher = Watcher(asyncio.Queue(EVENTS_MAX))
        self._watchers.append(watcher)
        return watcher

    def leave(self, watcher: Watcher) -> None:
        if watcher in self._watchers:
            self._watchers.remove(watcher)

    def close(self) -> None:
        """The module is off: those who watch are told, and what is held goes on."""
        for watcher in self._watchers:
            while watcher.events.full():
                watcher.events.get_nowait()
            watcher.events.put_nowait(None)
        for released in self.held.values():
            if not released.done():
                released.set_result(None)
        self.calls.clear()

    def report(self) -> dict[str, Any]:
        return {"calls": len(self.calls), "watchers": len(self._watchers), "held": len(self.held)}
