"""tracelink: a call as part of a distributed trace."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import OrderedDict, deque
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING

from pydantic import Field, SecretStr, field_validator

from instance.chute.exchange import Exchange
from instance.chute.module import ALL_KINDS, Module, ModuleSettings
from instance.chute.tracing.context import SAMPLED, TRACESTATE_MAX_BYTES, read_traceparent, sampled, trace_id_of
from instance.chute.tracing.otlp import Exporter
from instance.chute.tracing.snapshot import CallSnapshot, take_snapshot
from instance.chute.tracing.spans import spans_of
from instance.chute.tracing.store import delete_spans, insert_spans
from instance.chute.upstream import UpstreamUrl
from instance.core.instance_file import may_call_private_networks

if TYPE_CHECKING:
    from instance.core.core import Core

QUEUE_MAX_CALLS = 10_000
WRITTEN_AT_ONCE = 64
REMEMBERED_MAX = 10_000
LAST_EXPORT_S = 2.0
CLEANED_EVERY_S = 3600.0
NS_PER_DAY = 86_400 * 10**9

log = logging.getLogger("stockyard.tracelink")


class Joined:
    """How a call belongs to the caller's trace: kept on the exchange until its end."""

    __slots__ = ("flags", "parent_span_id")

    def __init__(self, flags: int, parent_span_id: str) -> None:
        self.flags = flags
        self.parent_span_id = parent_span_id


class TraceLink(Module):
    """Continues the caller's trace (`traceparent`, else `X-Stockyard-Parent-Id`), or begins one named after the call's own id.

    A call that stands alone and went well has its trace row for a span: `trace_id` and `span_id` are in it. Rows of the
    table `spans` are written for calls that belong to something (a caller's trace, a parent, a session), that needed
    more than one attempt, failed or were slow. The export gets every sampled call. The answer names the trace in
    `traceresponse` (https://www.w3.org/TR/trace-context-2/#traceresponse-header).
    """

    name = "tracelink"
    category = "observe"
    group = 1
    summary = "W3C trace context in and out, spans of each call, export by OTLP"
    default_enabled = True
    kinds = ALL_KINDS
    tick_s = 1.0
    migrations = Path(__file__).parent / "tracelink_migrations"

    class Settings(ModuleSettings):
        sample_pct: float = Field(
            default=100.0, ge=0, le=100, description="Share of the traces begun here; a caller's own flag is honoured."
        )
        min_span_ms: float = Field(
            default=1.0, ge=0, le=60_000, description="A module gets a span of its own from this time on."
        )
        propagate: bool = Field(default=True, description="Pass traceparent and tracestate on to the provider.")
        otlp_url: str = Field(
            default="",
            description="Where spans are sent by OTLP/HTTP with JSON, for example http://127.0.0.1:4318/v1/traces.",
        )
        otlp_headers: dict[str, SecretStr] = Field(
            default={}, max_length=32, description="Headers of the export, such as a key."
        )
        service_name: str = Field(
            default="stockyard", min_length=1, max_length=200, description="service.name of the spans."
        )
        export_text: bool = Field(
            default=False, description="Send prompts along, in the form in which they are stored."
        )
        keep_slow_s: float = Field(
            default=10.0, ge=0, le=86_400, description="Calls this long are kept whatever the sampling says."
        )
        retention_days: int = Field(default=7, ge=1, le=3650, description="Days for which spans are kept.")

        @field_validator("otlp_url")
        @classmethod
        def _url(cls, url: str) -> str:
            if url:
                UpstreamUrl.parse(url)
            return url

        @field_validator("otlp_headers")
        @classmethod
        def _header_lines(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
            for name, value in headers.items():
                line = name + value.get_secret_value()
                if not name or not line.isascii() or not line.isprintable() or ":" in name or " " in name:
                    raise ValueError(f"{name!r} is no header that can be sent")
            return headers

    settings: Settings

    def __init__(self, settings: ModuleSettings) -> None:
        super().__init__(settings)
        self._share = self.settings.sample_pct / 100
        self._all = self._share >= 1.0
        self._propagate = self.settings.propagate
        self._export_text = self.settings.export_text
        self._keep_slow_ns = round(self.settings.keep_slow_s * 1e9)
        self._min_span_ns = round(self.settings.min_span_ms * 1e6)
        self._queue: deque[CallSnapshot] = deque(maxlen=QUEUE_MAX_CALLS)
        self._traces: OrderedDict[str, str] = OrderedDict()
        """Trace ids of calls that joined another's trace, for calls that name them as their parent."""
        self.dropped = 0
        self.exporter: Exporter | None = None
        self._export: asyncio.Task[None] | None = None
        self._core: Core | None = None
        self._cleaned_ns = 0

    async def start(self, core: Core, previous: Module | None) -> None:
        self._core = core
        own = self.settings
        if isinstance(previous, TraceLink):
            self._traces = previous._traces
        if own.otlp_url:
            headers = {name: value.get_secret_value() for name, value in own.otlp_headers.items()}
            private = may_call_private_networks(core.hosted)
            self.exporter = Exporter(
                own.otlp_url, headers, own.service_name, self._min_span_ns, allow_private_networks=private
            )

    async def stop(self) -> None:
        if self._core is not None:
            while self._queue:
                await self._write(self._core)
        if self.exporter is not None:
            self.exporter.leave()
            try:
                async with asyncio.timeout(LAST_EXPORT_S):
                    if self._export is not None:
                        await self._export
                    await self.exporter.flush()
            except TimeoutError:
                log.warning("the last spans were not exported: %s", self.exporter.last_error or "it took too long")
            await self.exporter.close()

    def on_request(self, x: Exchange) -> None:
        headers = x.headers
        given = headers.get(b"traceparent")
        if given is None and self._all and not x.parent_id:
            trace_id = x.otel_trace_id = trace_id_of(x.id)
            span_id = x.otel_span_id = trace_id[16:]
            value = f"00-{trace_id}-{span_id}-01".encode()
            x.response_headers.append((b"traceresponse", value))
            if self._propagate:
                x.upstream_headers.append((b"traceparent", value))
            return
        joined = None
        context = read_traceparent(given) if given is not None else None
        if context is not None:
            joined = Joined(context.flags, context.parent_span_id)
            x.parent_id = context.parent_span_id
            trace_id = context.trace_id
            self._remember(x.id, trace_id)
        own_id = trace_id_of(x.id)
        if joined is None:
            if x.parent_id:
                trace_id = self._traces.get(x.parent_id) or trace_id_of(x.parent_id)
                joined = Joined(SAMPLED if sampled(trace_id, self._share) else 0, trace_id_of(x.parent_id)[16:])
                self._remember(x.id, trace_id)
            else:
                trace_id = own_id
        span_id = own_id[16:]
        x.otel_trace_id = trace_id
        x.otel_span_id = span_id
        if joined is not None:
            x.state["tracelink"] = joined
            flags = f"{joined.flags:02x}"
        else:
            flags = "01" if sampled(trace_id, self._share) else "00"
        value = f"00-{trace_id}-{span_id}-{flags}".encode()
        x.response_headers.append((b"traceresponse", value))
        if self._propagate:
            x.upstream_headers.append((b"traceparent", value))
            if context is not None:
                state = headers.get(b"tracestate")
                if state is not None and len(state) <= TRACESTATE_MAX_BYTES:
                    x.upstream_headers.append((b"tracestate", state))

    def on_finish(self, x: Exchange) -> None:
        duration_ns = perf_counter_ns() - x.started_ns
        joined: Joined | None = x.state.get("tracelink")
        remarkable = len(x.attempts) > 1 or x.status == "error" or duration_ns >= self._keep_slow_ns
        exporter = self.exporter
        if not remarkable and joined is None and exporter is None and not x.session:
            return
        if not x.otel_trace_id or not (remarkable or (self._all and joined is None) or self._sampled(x, joined)):
            return
        parent = joined.parent_span_id if joined is not None else ""
        call = take_snapshot(x, parent, duration_ns, self._min_span_ns, with_text=self._export_text)
        if remarkable or joined is not None or x.session:
            if len(self._queue) == QUEUE_MAX_CALLS:
                self.dropped += 1
            self._queue.append(call)
        if exporter is not None:
            exporter.add(call)

    async def tick(self) -> None:
        core = self._core
        if core is None:
            return
        if self.exporter is not None:
            if self._export is not None and self._export.done():
                self._export.result()
                self._export = None
            if self._export is None:
                self._export = asyncio.create_task(self.exporter.flush())
        while self._queue:
            await self._write(core)
        now = core.clock.mono_ns()
        if not self._cleaned_ns or now - self._cleaned_ns > CLEANED_EVERY_S * 1e9:
            self._cleaned_ns = now
            before_ns = core.clock.wall_ns() - self.settings.retention_days * NS_PER_DAY
            while await core.writer.write(lambda connection: delete_spans(connection, before_ns)):
                pass

    async def _write(self, core: Core) -> None:
        queue = self._queue
        calls = [queue.popleft() for _ in range(min(WRITTEN_AT_ONCE, len(queue)))]

        def write(connection: sqlite3.Connection) -> None:
            insert_spans(connection, [span for call in calls for span in spans_of(call, self._min_span_ns)])

        await core.writer.write(write)

    def _remember(self, exchange_id: str, trace_id: str) -> None:
        self._traces[exchange_id] = trace_id
        if len(self._traces) > REMEMBERED_MAX:
            self._traces.popitem(last=False)

    def _sampled(self, x: Exchange, joined: Joined | None) -> bool:
        if joined is not None:
            return bool(joined.flags & SAMPLED)
        return sampled(x.otel_trace_id, self._share)
