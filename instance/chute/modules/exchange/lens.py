"""All that is kept of one call for the developer who watches it: in memory only, bounded, and masked before it is shown."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from copy import copy, deepcopy
from time import perf_counter_ns
from typing import Any, cast

from instance.chute.answer import JSON, Delta
from instance.chute.answering import whole_body
from instance.chute.exchange import Exchange
from instance.chute.held_texts import HeldTexts
from instance.chute.modules.exchange.watched_exchange import ModuleWatch, WatchedExchange

DELTAS_MAX = 2000
ATTEMPTS_MAX = 32

NewTexts = Callable[[], HeldTexts]
"""Makes what takes credentials out of the texts of one stream."""


class SentAttempt:
    """One request to a provider in its own dialect, and what came back."""

    __slots__ = ("answer", "body", "events", "headers", "method", "path", "row", "texts")

    def __init__(
        self, row: JSON, method: bytes, path: bytes, headers: Iterable[tuple[bytes, bytes]], body: bytes
    ) -> None:
        self.row = row
        self.method = method.decode("latin-1")
        self.path = path.decode("latin-1")
        self.headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
        self.body = body
        self.answer: bytes | None = None
        self.events: list[tuple[float, JSON]] = []
        self.texts: HeldTexts | None = None


class Lens:
    """Looks on at one call. `max_bytes` bounds each text; `told` hears of what happens, for those who watch live."""

    def __init__(
        self, x: Exchange, module: str, max_bytes: int, new_texts: NewTexts, told: Callable[[str, Lens, JSON], None]
    ) -> None:
        self.x = x
        self.id = x.id
        self.key_id = str(x.principal.key_id) if x.principal is not None else ""
        self.team = x.team
        self.max_bytes = max_bytes
        self.modules = ModuleWatch(x, module, snapshots=len(x.raw) <= max_bytes)
        self.attempts: list[SentAttempt] = []
        self.deltas: list[tuple[float, JSON]] = []
        self.sent_body = b""
        self.whole = len(x.raw) <= max_bytes
        self.served_by: str | None = None
        self.ended_ms = 0.0
        self.state = "running"
        self.held = False
        self.edited = False
        self.size_bytes = 0
        self._new_texts = new_texts
        self._texts: HeldTexts | None = None
        self._told = told
        x.lens = self
        x.__class__ = WatchedExchange

    def since_ms(self) -> float:
        """Milliseconds since the call began."""
        return round((perf_counter_ns() - self.x.started_ns) / 1e6, 3)

    def sent(self, row: JSON, method: bytes, path: bytes, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        """A request goes to a provider; `row` is the attempt's in the trace."""
        if len(self.attempts) >= ATTEMPTS_MAX:
            return
        self.attempts.append(SentAttempt(row, method, path, headers, body[: self.max_bytes]))
        self.size_bytes += min(len(body), self.max_bytes)
        self._told("attempt", self, {"provider": row["provider"], "model": row["model"], "at_ms": self.since_ms()})

    def answered(self, row: JSON, body: bytes) -> None:
        """The whole body that a provider answered with."""
        for attempt in reversed(self.attempts):
            if attempt.row is row:
                attempt.answer = body[: self.max_bytes]
                self.size_bytes += len(attempt.answer)
                return

    def looked_at(self, row: JSON, events: AsyncIterator[list[Delta]]) -> AsyncIterator[list[Delta]]:
        """The provider's events as they are, each looked at on its way."""
        attempt = next((attempt for attempt in reversed(self.attempts) if attempt.row is row), None)
        return events if attempt is None else self._looked_at(attempt, events)

    async def _looked_at(self, attempt: SentAttempt, source: AsyncIterator[list[Delta]]) -> AsyncIterator[list[Delta]]:
        attempt.texts = self._new_texts()
        async with aclosing(cast("AsyncGenerator[list[Delta], None]", source)) as events:
            async for batch in events:
                for delta in batch:
                    self._keep(attempt.events, attempt.texts, delta)
                yield batch

    def delta(self, delta: Delta) -> None:
        """One event as it leaves for the caller."""
        if self._texts is None:
            self._texts = self._new_texts()
        shown = self._keep(self.deltas, self._texts, delta)
        if shown is not None:
            self._told("delta", self, {"at_ms": self.deltas[-1][0], "data": shown})

    def _keep(self, kept: list[tuple[float, JSON]], texts: HeldTexts, delta: Delta) -> JSON | None:
        if delta.obj is None or len(kept) >= DELTAS_MAX or self.size_bytes > 4 * self.max_bytes:
            return None
        copied = Delta(b"", deepcopy(delta.obj))
        copied.final = delta.final
        if copied.obj is not None and copied.obj.get("choices"):
            texts.take(copied)
        self.size_bytes += len(delta.raw) or 200
        kept.append((self.since_ms(), copied.obj or {}))
        return copied.obj

    def finish(self) -> None:
        """The call is over: take what was sent, and let the exchange be an ordinary one again."""
        x = self.x
        x.__class__ = Exchange
        answer = x.answer
        if answer is not None and answer.events is None and not answer.content_type:
            self.sent_body = whole_body(x, answer)[: self.max_bytes]
            self.size_bytes += len(self.sent_body)
        self.size_bytes += min(len(x.raw), self.max_bytes) + sum(len(b) + len(a) for _, _, b, a in self.modules.steps)
        self.state = "done"
        self.served_by = answer.target.label if answer is not None and answer.target is not None else None
        self.x = self._rest_of(x)
        self._told("finish", self, self.summary())

    def _rest_of(self, x: Exchange) -> Exchange:
        """What is kept of the exchange: who, what and how, without what it held on to while it ran."""
        rest = copy(x)
        rest.raw = x.raw[: self.max_bytes]
        rest.req, rest.native, rest.state, rest.targets = {}, None, {}, []
        rest.answer = rest.plan = rest.lens = rest.task = None
        rest.text_out = []
        rest.text_beside = None
        rest.stored_request = rest.stored_response = None
        return rest

    def summary(self) -> JSON:
        """The call in one line of a list."""
        x = self.x
        return {
            "id": self.id,
            "state": "held" if self.held else self.state,
            "key_id": self.key_id,
            "session": x.session or None,
            "path": x.path,
            "stream": x.stream,
            "model_requested": x.model_requested,
            "served_by": self.served_by,
            "status": x.status if self.state == "done" else None,
            "http_status": x.http_status if self.state == "done" else None,
            "error_code": x.error_code or None,
            "attempts": len(self.attempts),
            "changed_by": list(dict.fromkeys(module for module, *_ in self.modules.steps)),
            "started_at_ns": x.started_wall_ns,
            "duration_ms": self.since_ms() if self.state == "running" else self.ended_ms,
        }

    def server_timing(self) -> bytes:
        """The value of the header `Server-Timing`: milliseconds of each module, of the providers, and in all."""
        x = self.x
        parts = [f"{module};dur={took / 1e6:.3f}" for module, took in self.modules.times_ns.items()]
        parts.append(f"upstream;dur={x.upstream_ns / 1e6:.3f}")
        parts.append(f"total;dur={self.since_ms():.3f}")
        return ", ".join(parts).encode()

    def timings(self) -> dict[str, Any]:
        """Milliseconds by module."""
        return {module: round(took / 1e6, 4) for module, took in self.modules.times_ns.items()}
