"""What the writer's thread is asked to do by coroutines, and how it answers them."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

log = logging.getLogger("stockyard.writer")


@dataclass(frozen=True, slots=True)
class LedgerEvent:
    """An entry for the ledger. `detail` holds strings, integers, booleans, lists and objects of them, under ASCII keys."""

    event_type: str
    actor: str
    resource: str
    action: str
    detail: dict[str, Any]
    trace_id: str | None = None


@dataclass(slots=True)
class Waiter:
    """Who waits for an answer from another thread."""

    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]

    @classmethod
    def here(cls) -> Waiter:
        """The coroutine that calls it; it awaits `future`."""
        loop = asyncio.get_running_loop()
        return cls(loop, loop.create_future())

    def answer(self, result: Any = None, error: BaseException | None = None) -> None:
        """Give the waiting coroutine a result or an error; nothing happens when it gave up."""

        def settle() -> None:
            if self.future.done():
                return
            if error is not None:
                self.future.set_exception(error)
            else:
                self.future.set_result(result)

        try:
            self.loop.call_soon_threadsafe(settle)
        except RuntimeError:
            log.warning("a write was finished for somebody whose event loop has ended")


@dataclass(slots=True)
class Job:
    """A write in one transaction, with the ledger entries of `events`."""

    run: Callable[[sqlite3.Connection], Any]
    events: Sequence[LedgerEvent]
    waiter: Waiter


@dataclass(slots=True)
class Drain:
    """Waits until everything up to `sequence` is folded."""

    sequence: int
    waiter: Waiter
