"""Spans to an OpenTelemetry collector: OTLP over HTTP with JSON (https://opentelemetry.io/docs/specs/otlp/), off every call's way."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from instance.chute.retry_after import retry_after_s
from instance.chute.tracing.snapshot import CallSnapshot
from instance.chute.tracing.spans import Span, spans_of
from instance.chute.upstream import Upstream, UpstreamError, UpstreamUrl

QUEUE_MAX_CALLS = 2048
BATCH_MAX_CALLS = 256
TRIES = 5
FIRST_WAIT_S = 0.5
CONNECT_S = 5.0
ANSWER_S = 10.0
ANSWER_MAX_BYTES = 64 << 10
RETRIED = frozenset((429, 502, 503, 504))
"""Statuses on which the protocol lets a client repeat the request."""


def encode_spans(spans: Sequence[Span], service_name: str) -> bytes:
    """An `ExportTraceServiceRequest` in OTLP's JSON."""
    resource = {"attributes": [_attribute("service.name", service_name)]}
    scope = {"scope": {"name": "stockyard"}, "spans": [_span(span) for span in spans]}
    return orjson.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [scope]}]})


def _span(span: Span) -> dict[str, Any]:
    shape: dict[str, Any] = {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": str(span.start_ns),
        "endTimeUnixNano": str(span.end_ns),
        "attributes": [_attribute(name, value) for name, value in span.attributes.items()],
        "status": {"code": 2, "message": span.error} if span.error else {"code": 1},
    }
    if span.parent_span_id:
        shape["parentSpanId"] = span.parent_span_id
    if span.events:
        shape["events"] = [{"name": name, "timeUnixNano": str(at)} for name, at in span.events]
    return shape


def _attribute(name: str, value: Any) -> dict[str, Any]:
    return {"key": name, "value": _value(value)}


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(item) for item in value]}}
    return {"stringValue": str(value)}


class Exporter:
    """Sends calls' spans in batches. The queue is bounded: when the collector does not keep up, the oldest are dropped and counted."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        service_name: str,
        min_span_ns: int,
        *,
        allow_private_networks: bool,
    ) -> None:
        self._url = UpstreamUrl.parse(url)
        self._headers = [(b"content-type", b"application/json"), (b"user-agent", b"stockyard")]
        self._headers += [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        self._service_name = service_name
        self._min_span_ns = min_span_ns
        self._upstream = Upstream(allow_private_networks=allow_private_networks)
        self._queue: deque[CallSnapshot] = deque(maxlen=QUEUE_MAX_CALLS)
        self._sending = asyncio.Lock()
        self._leaving = asyncio.Event()
        self.dropped = 0
        self.sent = 0
        self.last_error = ""

    def add(self, call: CallSnapshot) -> None:
        """Queue a call that is over."""
        if len(self._queue) == QUEUE_MAX_CALLS:
            self.dropped += 1
        self._queue.append(call)

    async def flush(self) -> None:
        """Send what is queued. A batch that the collector refuses for good, or five times, is dropped and counted."""
        async with self._sending:
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(BATCH_MAX_CALLS, len(self._queue)))]
                body = await asyncio.to_thread(self._encode, batch)
                if await self._delivered(body):
                    self.sent += len(batch)
                else:
                    self.dropped += len(batch)

    def _encode(self, batch: Sequence[CallSnapshot]) -> bytes:
        return encode_spans([span for call in batch for span in spans_of(call, self._min_span_ns)], self._service_name)

    async def _delivered(self, body: bytes) -> bool:
        wait_s = FIRST_WAIT_S
        for attempt in range(TRIES):
            if attempt:
                if not await self._waited(wait_s):
                    return False
                wait_s *= 2
            try:
                async with asyncio.timeout(ANSWER_S):
                    answer = await self._upstream.send(
                        self._url, b"POST", b"", self._headers, body, connect_timeout_s=CONNECT_S
                    )
                    await answer.read(ANSWER_MAX_BYTES)
            except (UpstreamError, TimeoutError) as error:
                self.last_error = str(error) or type(error).__name__
                continue
            if 200 <= answer.status < 300:
                self.last_error = ""
                return True
            self.last_error = f"the collector answered {answer.status}"
            if answer.status not in RETRIED:
                return False
            asked = retry_after_s(answer.status, answer.headers)
            if asked is not None:
                wait_s = min(asked, 30.0)
        return False

    async def _waited(self, seconds: float) -> bool:
        """Wait before the next try; False at once when nobody waits for tries any more."""
        try:
            await asyncio.wait_for(self._leaving.wait(), seconds)
        except TimeoutError:
            return True
        return False

    def leave(self) -> None:
        """From now on try each batch once."""
        self._leaving.set()

    async def close(self) -> None:
        """Close the connections; what is still queued is dropped."""
        self.dropped += len(self._queue)
        self._queue.clear()
        await self._upstream.close()
