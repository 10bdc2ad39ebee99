"""streamsnap: how each answer left for the client: how soon, how evenly, how it ended; and a recording of it, if wanted."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from functools import partial
from pathlib import Path
from random import random
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from instance.chute.answer import JSON, Delta
from instance.chute.exchange import Exchange
from instance.chute.module import TEXT_KINDS, Module, ModuleSettings
from instance.chute.modules.other.stream_capture import Captured, StreamCapture, delete_before, insert
from instance.chute.modules.other.stream_pace import NS_PER_MS, StreamPace
from instance.chute.running_streams import ENDED
from instance.core.principals import has_scope

if TYPE_CHECKING:
    from instance.core.core import Core

WAITING_MAX = 500
WAITING_MAX_BYTES = 32 << 20
"""Recordings that wait to be stored; beyond it they are dropped, and the report says how many."""
WRITTEN_AT_ONCE = 20
READ_AT_ONCE = 32
CLEANED_EVERY_NS = 3600 * 10**9
NS_PER_DAY = 86_400 * 10**9
UPSTREAM_CUTS = frozenset(("truncated", "reset", "connect", "tls", "bad_response"))
CAPTURE_MAX_KB = 16_384

Ended = Literal["done", "length", "client_gone", "upstream_cut", "error", "killed"]

log = logging.getLogger("stockyard.modules")


class _Snap:
    """What is known of a stream. Events wait until there are a few, and are read then: one by one each would find all it needs cold."""

    __slots__ = ("_started_ns", "capture", "events", "pace")

    def __init__(self, pace: StreamPace, capture: StreamCapture | None, started_ns: int) -> None:
        self.pace = pace
        self.capture = capture
        self._started_ns = started_ns
        self.events: list[tuple[int, list[JSON]]] = []

    def read(self) -> None:
        """Take in the events that wait: when each left, and its choices, which nobody changes any more."""
        events, self.events = self.events, []
        pace, started_ns = self.pace, self._started_ns
        left: list[tuple[int, bool]] = []
        for left_ns, choices in events:
            content = False
            for choice in choices:
                reason = choice.get("finish_reason")
                if reason is not None:
                    pace.finish_reason = reason
                if not content:
                    part = choice.get("delta")
                    if part and (part.get("content") or ((len(part) > 1 or "content" not in part) and _has_more(part))):
                        content = True
                    elif "text" in choice:
                        content = bool(choice["text"])
            left.append((left_ns, content))
        pace.events(left)
        if self.capture is not None and events:
            self.capture.add([((left_ns - started_ns) // 1000, choices) for left_ns, choices in events])


def _has_more(part: JSON) -> bool:
    """Whether an event's part carries something of the answer beside content, as a call of a tool."""
    return any(value and name != "role" for name, value in part.items())


class StreamSnap(Module):
    """Measures each stream as it leaves: time to the first byte and to the first content, gaps, tokens per second of the
    content phase (its stalls left out), stalls, and how it ended. The figures stand on the trace under `measures.stream`.

    Nothing is held back or changed. With `capture` the events are stored with their times, in the form in which texts may
    be stored, and `GET /api/observe/traces/{id}/stream` plays them again. `X-Stockyard-Trace: meta` keeps a call out of it.
    """

    name: ClassVar[str] = "streamsnap"
    category: ClassVar[str] = "other"
    group: ClassVar[int] = 1
    summary: ClassVar[str] = "Measures streams as they leave, and records them if wanted"
    default_enabled: ClassVar[bool] = True
    kinds: ClassVar[frozenset[str]] = TEXT_KINDS
    tick_s: ClassVar[float] = 1.0
    migrations: ClassVar[Path | None] = Path(__file__).parent / "streamsnap_migrations"

    class Settings(ModuleSettings):
        capture: bool = Field(default=False, description="Store the events of streams with their times.")
        max_kb: int = Field(default=256, ge=1, le=CAPTURE_MAX_KB, description="KiB stored of one stream.")
        sample_pct: float = Field(default=100.0, ge=0, le=100, description="Share of streams that are looked at.")
        stall_ms: int = Field(
            default=2000, ge=1, le=3_600_000, description="Milliseconds without an event that count as a stall."
        )
        retention_days: int = Field(default=7, ge=1, le=3650, description="Days for which recordings are kept.")
        plain_too: bool = Field(default=True, description="Note time and size of answers that are not streamed too.")

    settings: Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._share = settings.sample_pct / 100
        self._stall_ns = settings.stall_ms * NS_PER_MS
        self._plain = settings.plain_too
        self._max_bytes = settings.max_kb << 10 if settings.capture else 0
        self._waiting: deque[Captured] = deque()
        self._waiting_bytes = 0
        self._stored = 0
        self._dropped = 0
        self._cleaned_ns = 0
        self._writing = asyncio.Lock()
        self._core: Core

    def hooks(self) -> tuple[str, ...]:
        if not self._share:
            return ("on_finish",) if self._plain else ()
        return ("on_delta", "on_finish")

    async def start(self, core: Core, previous: Module | None) -> None:
        self._core = core

    async def stop(self) -> None:
        await self._write()

    def report(self) -> dict[str, Any]:
        return {"stored": self._stored, "waiting": len(self._waiting), "dropped": self._dropped}

    def on_delta(self, x: Exchange, delta: Delta) -> None:
        obj = delta.obj
        if obj is None or delta.dropped or not (delta.raw or delta.changed):
            return
        now = perf_counter_ns()
        try:
            snap: _Snap | None = x.state["streamsnap"]
        except KeyError:
            snap = x.state["streamsnap"] = self._begin(x)
        if snap is None:
            return
        events = snap.events
        events.append((now, obj["choices"]))
        if len(events) == READ_AT_ONCE:
            snap.read()

    def _begin(self, x: Exchange) -> _Snap | None:
        if self._share < 1.0 and random() >= self._share:
            return None
        capture = StreamCapture(self._max_bytes) if self._max_bytes and not _opted_out(x) else None
        return _Snap(StreamPace(self._stall_ns), capture, x.started_ns)

    def on_finish(self, x: Exchange) -> None:
        if not x.stream:
            answer = x.answer
            if self._plain and answer is not None:
                choices = answer.obj.get("choices") if answer.obj is not None else None
                ended = _ended(x, choices[0].get("finish_reason") if choices else "")
                complete = ended == "done" or ended == "length"
                whole: JSON = {"chunks": 1, "bytes": x.bytes_out, "ended": ended, "complete": complete}
                if x.measures is None:
                    x.measures = {"stream": whole}
                else:
                    x.measures["stream"] = whole
            return
        snap: _Snap | None = x.state.get("streamsnap")
        if snap is None:
            return
        snap.read()
        pace = snap.pace
        ended = _ended(x, pace.finish_reason)
        if ended not in ("done", "length"):
            pace.silence(perf_counter_ns())
        figures = pace.figures(x.started_ns)
        usage = x.usage
        figures["tokens_per_s"] = pace.tokens_per_s(usage.output)
        figures["bytes"] = x.bytes_out
        figures["ended"] = ended
        figures["complete"] = ended in ("done", "length") and "done" in x.state
        if snap.capture is not None and self._keep(x, snap.capture, bool(figures["complete"])):
            figures["captured"] = True
        x.measure(stream=figures)

    def _keep(self, x: Exchange, capture: StreamCapture, done: bool) -> bool:
        redact = x.state.get("redact")
        if redact is None and x.plan is not None and x.plan.redacts:
            return False  # the texts were never looked through, so they are not stored
        size = capture.size_bytes
        if not capture.count:
            return False
        if len(self._waiting) >= WAITING_MAX or self._waiting_bytes + size > WAITING_MAX_BYTES:
            self._dropped += 1
            return False
        target = x.answer.target if x.answer is not None else None
        model = target.model if target is not None else x.model_requested
        self._waiting_bytes += size
        self._waiting.append(Captured(x.id, x.started_wall_ns, x.team, model, done, capture, redact, x.stored_response))
        return True

    async def tick(self) -> None:
        await self._write()
        now = self._core.clock.mono_ns()
        if not self._cleaned_ns or now - self._cleaned_ns > CLEANED_EVERY_NS:
            self._cleaned_ns = now
            before_ns = self._core.clock.wall_ns() - self.settings.retention_days * NS_PER_DAY
            while await self._core.writer.write(lambda connection: delete_before(connection, before_ns)):
                pass

    async def _write(self) -> None:
        """Store what waits; what cannot be stored now waits on."""
        async with self._writing:
            while self._waiting:
                batch = [self._waiting[n] for n in range(min(WRITTEN_AT_ONCE, len(self._waiting)))]
                rows = await asyncio.to_thread(_rows, batch)
                await self._core.writer.write(partial(insert, rows))
                for captured in batch:
                    self._waiting.popleft()
                    self._waiting_bytes -= captured.capture.size_bytes
                self._stored += len(batch)


def _rows(batch: list[Captured]) -> list[tuple[Any, ...]]:
    return [captured.row() for captured in batch]


def _opted_out(x: Exchange) -> bool:
    return (
        x.headers.get(b"x-stockyard-trace") == b"meta"
        and x.principal is not None
        and has_scope(x.principal, "content:opt_out")
    )


def _ended(x: Exchange, finish_reason: str | None) -> Ended:
    if x.client_gone:
        return "client_gone"
    if x.error_module or x.status == "cancelled" or ENDED in x.state:
        return "killed"
    if x.error_code:
        error = x.attempts[-1].get("error") if x.attempts else None
        return "upstream_cut" if error in UPSTREAM_CUTS else "error"
    return "length" if finish_reason == "length" else "done"
