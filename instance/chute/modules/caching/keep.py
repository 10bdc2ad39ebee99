"""What one call leaves in a cache: its answer as the provider gave it, whole or put together from its stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

import orjson

from instance.chute.answer import DONE, JSON, Answer, Delta
from instance.chute.exact_bytes import exact
from instance.chute.exchange import STANDS_IN, Exchange
from instance.chute.modules.caching.answer_store import Entry
from instance.chute.modules.caching.stream_replay import Assembly

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

SECOND_NS = 1_000_000_000
CANONICAL = "openai.chat"


Key = TypeVar("Key")


class Keeper(Protocol):
    """A cache, as one call's `Keep` sees it."""

    def keepable(self, obj: JSON) -> bool:
        """Whether a whole answer is one to keep; a cache further out keeps what one further in does."""

    def landed(self, keep: Keep[Any], entry: Entry | None) -> None:
        """Give those who wait for a call that `leads` its answer, or nothing."""


class Keep(Generic[Key]):
    """What one call leaves in the cache: taken from its answer as the provider gave it, kept when the call is over.

    One that `leads` has others waiting for it, perhaps: they wait for `flight`, which the first of them makes.
    """

    __slots__ = ("_body", "_events", "_module", "_of", "_outer", "_ttl_s", "_x", "flight", "key", "leads")

    def __init__(self, module: Keeper, x: Exchange, key: Key, ttl_s: int) -> None:
        self._module = module
        self._x = x
        self._ttl_s = ttl_s
        self._body: bytes | None = None
        self._of: bytes | None = None
        """What came and was kept as it is."""
        self._events: AsyncIterator[list[Delta]] | None = None
        self._outer: Keep[Any] | None = None
        self.key = key
        self.leads = False
        self.flight: asyncio.Future[Entry | None] | None = None

    def take(self, answer: Answer, inner: Keep[Any] | None = None) -> None:
        """Take the answer, before later hooks change it; a stream's once it is complete. `inner`: what another cache further in
        keeps of the same call; what nothing between them changed is looked at and put together once for both."""
        events = answer.events
        if events is not None:
            if inner is not None and events is inner._events:
                inner._outer = self
            else:
                answer.events = self._events = self._watched(events)
            return
        obj, body = answer.obj, answer.body
        if obj is None or answer.status != 200:
            return
        as_it_came = body is not None and not answer.changed and answer.native == CANONICAL
        if as_it_came and inner is not None and inner._of is body:
            self._of, self._body = body, inner._body
        elif self._module.keepable(obj):
            if as_it_came:
                self._of = body
            self._body = exact(body if as_it_came and body is not None else orjson.dumps(obj))

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
                    keep._body = None
            raise

    def _with_outer(self) -> tuple[Keep[Any], ...]:
        return (self,) if self._outer is None else (self, self._outer)

    def _assembled(self, assembly: Assembly) -> None:
        keeps = [keep for keep in self._with_outer() if keep._body is None]
        whole = assembly.whole() if keeps else None
        if whole is None:
            return
        body = exact(orjson.dumps(whole))
        for keep in keeps:
            if keep._module.keepable(whole):
                keep._body = body

    def finish(self, now_ns: int) -> Entry | None:
        """The answer to keep, now that the call is over; none where it has none or did not end well."""
        x, body = self._x, self._body
        if body is None or x.client_gone or x.http_status != 200 or x.error_code or STANDS_IN in x.state:
            return None
        cost_nano = 0
        for _, nano in x.cost_lines:
            cost_nano += nano
        return Entry(body, now_ns, now_ns + self._ttl_s * SECOND_NS, cost_nano, x.model_requested, x.team)

    @property
    def text_was_changed(self) -> bool:
        """Whether the answer's text was changed for storage: it then stays in memory."""
        return self._x.stored_response is not None or "redacted" in self._x.state

    def fail(self) -> None:
        """The call has no answer that could be kept: those who wait for it get nothing."""
        if self.leads:
            self._module.landed(self, None)
