"""The queue of notices: stored before they are sent, tried again after failures, across restarts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from random import random
from typing import TYPE_CHECKING, Any

from instance.lookout.alerts import delivery_store
from instance.lookout.alerts.channels import Channels, Outcome
from instance.lookout.alerts.delivery_store import Delivery

if TYPE_CHECKING:
    from instance.core.core import Core

RETRY_S = (5.0, 60.0, 600.0, 3600.0, 21_600.0)
"""Most seconds until the next attempt, after the first, the second, …; the wait is a random part of it."""
AT_ONCE = 8
LOOK_S = 5.0
AFTER_FAILURE_S = 5.0

Route = Callable[[int], tuple[str, Mapping[str, Any]] | None]
"""Rule id -> its channel and the channel's settings, secrets among them; `None` when the rule is gone."""

log = logging.getLogger("stockyard.alerts")


class Deliveries:
    """Sends what is due. At least once: a notice's `id` tells a receiver what it had already."""

    def __init__(self, core: Core, route: Route, channels: Channels) -> None:
        self._core = core
        self._route = route
        self._channels = channels
        self._wake = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Send no more; what waits is sent after the next start."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._channels.close()

    def wake(self) -> None:
        """There is something new."""
        self._wake.set()

    async def send_now(self, rule_id: int, delivery_id: str, event: str, notice: dict[str, Any]) -> Outcome:
        """One attempt, not queued."""
        route = self._route(rule_id)
        if route is None:
            return Outcome(error="the alert is gone")
        return await self._channels.send(*route, delivery_id, event, notice)

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                while await self._send_due():
                    pass
            except Exception:  # the database may be full or busy: what is due stays due
                log.exception("notices of alerts could not be sent now")
                await asyncio.sleep(AFTER_FAILURE_S)
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _send_due(self) -> bool:
        core = self._core
        now_ns = core.clock.wall_ns()
        found = await core.database.read(partial(delivery_store.due, now_ns=now_ns, limit=AT_ONCE))
        if found:
            await asyncio.gather(*(self._attempt(delivery) for delivery in found))
        return len(found) == AT_ONCE

    async def _attempt(self, delivery: Delivery) -> None:
        outcome = await self.send_now(delivery.rule_id, delivery.id, delivery.event, delivery.notice)
        next_at_ns = None
        if outcome.error and delivery.attempts < len(RETRY_S):
            wait_s = RETRY_S[delivery.attempts] * random()
            next_at_ns = self._core.clock.wall_ns() + round(wait_s * 1e9)
        if outcome.error:
            log.warning("alert notice %s was not delivered: %s", delivery.id, outcome.error)
        await self._core.writer.write(
            partial(
                delivery_store.attempted,
                delivery=delivery,
                http_status=outcome.http_status,
                error=outcome.error,
                next_at_ns=next_at_ns,
            )
        )
