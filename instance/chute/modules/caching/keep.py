"""What one call leaves in a cache: its answer as the provider gave it, whole or put together from its stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

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

    def landed(self, keep: Keep[Any], entry: Entry | None) -> None:
        """Give those who wait for a call that `leads` its answer, or nothing."""


class Keep(Generic[Key]):
    """What one call leaves in the cache: taken from its answer as the provider gave it, kept when the call is over.

    One that `leads` has others waiting for it, perhaps: they wait for `flight`, which the first of them makes.
    """

    __slots__ = ("_entry", "_events", "_module", "_outer", "_ttl_s", "_x", "flight", "key", "leads")

    def __init__(self, module: Keeper[Key], x: Exchange, key: Key, ttl_s: int) -> None:
        self._module = module
        self._x = x
        self._ttl_s = ttl_s
        self._entry: Entry | None = None
        self._events: AsyncIterator[list[Delta]] | None = None
        self._outer: Keep[Any] | None = None
        self.key = key
        self.leads = False
        self.flight: asyncio.Future[Entry | None] | None = None

    def take(self, answer: Answer, inner: Keep[Any] | None = None) -> None:
        """Take the answer, before later hooks change it; a stream's once it is complete. `inner`: what another cache further in
        keeps of the same call; where nothing is between them one puts the stream together for both."""
        if answer.events is None:
            self._whole(answer)
        elif inner is not None and answer.events is inner._events:
            inner._outer = self
        else:
            answer.events = self._events = self._watched(answer.events)

    def _whole(self, answer: Answer) -> None:
        obj = answer.obj
        if obj is not None and answer.status == 200 and self._module.keepable(obj):
            body = answer.body
            if body is None or answer.changed or answer.native != CANONICAL:
                body = orjson.dumps(obj)
            self._take(exact(body))

    async def _watched(self, events: AsyncIterator[list[Delta]]) -> AsyncIterator[list[Delta]]:
        assembly = Assembly()
        add = assembly.add
        try:
            async with aclosing(cast("AsyncGenerator[list[Delta], None]", events)):
                async for batch in events:
                    for delta in batch:
                        if delta.obj is not None:
                            add(delta)
                        elif delta.raw == DONE:
                            self._assembled(assembly)
                    yield batch
            self._assembled(assembly)
        except BaseException:
            if not self._x.state.get("finished"):
                for keep in self._with_outer():
                    keep._entry = None
            raise

    def _with_outer(self) -> tuple[Keep[Any], ...]:
        return (self,) if self._outer is None else (self, self._outer)

    def _assembled(self, assembly: Assembly) -> None:
        keeps = [keep for keep in self._with_outer() if keep._entry is None]
        whole = assembly.whole() if keeps else None
        if whole is None:
            return
        body = exact(orjson.dumps(whole))
        for keep in keeps:
            if keep._module.keepable(whole):
                keep._take(body)

    def _take(self, body: bytes) -> None:
        x = self._x
        now_ns = self._module.now_ns()
        self._entry = Entry(body, now_ns, now_ns + self._ttl_s * SECOND_NS, 0, x.model_requested, x.team)

    def finish(self) -> None:
        """Keep the answer and tell those who wait; one whose text was changed for storage stays in memory."""
        x, entry = self._x, self._entry
        if entry is not None:
            if x.client_gone or x.http_status != 200 or x.error_code:
                entry = None
            else:
                for _, nano in x.cost_lines:
                    entry.cost_nano += nano
                self._module.kept(self.key, entry, on_disk=x.stored_response is None and "redacted" not in x.state)
        if self.leads:
            self._module.landed(self, entry)

    def fail(self) -> None:
        """The call has no answer that could be kept: those who wait for it get nothing."""
        if self.leads:
            self._module.landed(self, None)
