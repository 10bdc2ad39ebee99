"""What one call leaves in a cache: its answer as the provider gave it, whole or put together from its stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar, cast

import orjson

from instance.chute.answer import DONE, JSON, Answer, Delta
from instance.chute.exact_bytes import exact
from instance.chute.exchange import Exchange
from instance.chute.modules.caching.answer_store import Entry
from instance.chute.modules.caching.stream_replay import Assembly

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

SECOND_NS = 1_000_000_000
CANONICAL = "openai.chat"


Key = TypeVar("Key")
KeyIn = TypeVar("KeyIn", contravariant=True)


class Keeper(Protocol[KeyIn]):
    """A cache, as one call's `Keep` sees it."""

    def keepable(self, obj: JSON) -> bool:
        """Whether a whole answer is one to keep."""

    def now_ns(self) -> int:
        """Wall clock."""

    def kept(self, key: KeyIn, entry: Entry, *, on_disk: bool) -> None:
        """Take an entry; `on_disk` is false for an answer whose stored text is another."""

    def end_flight(self, key: KeyIn, flight: asyncio.Future[Entry | None], entry: Entry | None) -> None:
        """Give those who wait for a call its answer, or nothing."""


class Keep(Generic[Key]):
    """What one call leaves in the cache: taken from its answer as the provider gave it, kept when the call is over."""

    __slots__ = ("_entry", "_module", "_ttl_s", "_x", "flight", "key")

    def __init__(self, module: Keeper[Key], x: Exchange, key: Key, ttl_s: int) -> None:
        self._module = module
        self._x = x
        self._ttl_s = ttl_s
        self._entry: Entry | None = None
        self.key = key
        self.flight: asyncio.Future[Entry | None] | None = None

    def whole(self, answer: Answer) -> None:
        """Take a whole answer, before later hooks change it."""
        obj = answer.obj
        if obj is not None and answer.status == 200 and self._module.keepable(obj):
            canonical = answer.native == CANONICAL and not answer.changed
            self._take(answer.body if canonical and answer.body is not None else orjson.dumps(obj))

    async def watched(self, events: AsyncIterator[list[Delta]]) -> AsyncIterator[list[Delta]]:
        """The same events; once they are complete the answer that they make up is taken."""
        assembly = Assembly()
        try:
            async with aclosing(cast("AsyncGenerator[list[Delta], None]", events)):
                async for batch in events:
                    for delta in batch:
                        assembly.add(delta)
                        if delta.obj is None and delta.raw == DONE:
                            self._assembled(assembly)
                    yield batch
            self._assembled(assembly)
        except BaseException:
            if not self._x.state.get("finished"):
                self._entry = None
            raise

    def _assembled(self, assembly: Assembly) -> None:
        if self._entry is None:
            whole = assembly.whole()
            if whole is not None and self._module.keepable(whole):
                self._take(orjson.dumps(whole))

    def _take(self, body: bytes) -> None:
        x = self._x
        now_ns = self._module.now_ns()
        self._entry = Entry(exact(body), now_ns, now_ns + self._ttl_s * SECOND_NS, 0, x.model_requested, x.team)

    def finish(self) -> None:
        """Keep the answer and tell those who wait; one whose text was changed for storage stays in memory."""
        x, entry = self._x, self._entry
        if entry is None or x.client_gone or x.http_status != 200 or x.error_code:
            self.land(None)
            return
        entry.cost_nano = x.cost_nano
        self._module.kept(self.key, entry, on_disk=x.stored_response is None and "redacted" not in x.state)
        self.land(entry)

    def land(self, entry: Entry | None) -> None:
        """Give those who wait for this call its answer, or nothing."""
        flight = self.flight
        if flight is not None:
            self._module.end_flight(self.key, flight, entry)
