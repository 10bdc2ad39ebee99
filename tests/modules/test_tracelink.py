import asyncio
from typing import Any

import httptools
import orjson
import pytest
from pydantic import ValidationError

from instance.chute.modules.observe import tracelink as tracelink_module
from instance.chute.modules.observe.tracelink import TraceLink
from instance.chute.tracing.context import trace_id_of
from instance.chute.tracing.otlp import Exporter
from instance.chute.tracing.store import delete_spans, waterfall
from tests.mock_replies import chunks, status, text
from tests.mock_upstream import until
from tests.modules.conftest import Running, running
from tests.modules.exchanges import exchange

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLERS = f"00-{TRACE}-{SPAN}-01"


def tracelink(**settings: Any) -> TraceLink:
    return TraceLink(TraceLink.Settings(**settings))


def test_a_call_without_a_trace_begins_one_named_after_itself() -> None:
    x = exchange()
    tracelink().on_request(x)
    assert x.otel_trace_id == trace_id_of(x.id)
    assert x.upstream_headers == [(b"traceparent", f"00-{x.otel_trace_id}-{x.otel_span_id}-01".encode())]
    assert x.response_headers == [(b"traceresponse", x.upstream_headers[0][1])]


def test_the_callers_trace_is_continued_with_its_flag_and_state() -> None:
    headers = {b"traceparent": f"00-{TRACE}-{SPAN}-00".encode(), b"tracestate": b"vendor=1"}
    x = exchange(headers=headers)
    tracelink().on_request(x)
    assert (x.otel_trace_id, x.parent_id) == (TRACE, SPAN)
    assert x.otel_span_id not in ("", SPAN)
    assert x.upstream_headers == [
        (b"traceparent", f"00-{TRACE}-{x.otel_span_id}-00".encode()),
        (b"tracestate", b"vendor=1"),
    ]


def test_a_malformed_traceparent_begins_a_new_trace() -> None:
    x = exchange(headers={b"traceparent": b"garbage", b"tracestate": b"vendor=1"})
    tracelink().on_request(x)
    assert x.otel_trace_id == trace_id_of(x.id)
    assert len(x.upstream_headers) == 1


def test_a_call_below_another_call_is_in_its_trace() -> None:
    module = tracelink()
    first, second, third = exchange(), exchange(), exchange()
    module.on_request(first)
    second.parent_id = first.id
    module.on_request(second)
    third.parent_id = second.id
    module.on_request(third)
    assert first.otel_trace_id == second.otel_trace_id == third.otel_trace_id


def test_traceparent_wins_over_the_parents_id() -> None:
    x = exchange(headers={b"traceparent": CALLERS.encode()}, parent_id="tr_01ARZ3NDEKTSV4RRFFQ69G5FAV")
    tracelink().on_request(x)
    assert x.otel_trace_id == TRACE


def test_remembered_traces_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracelink_module, "REMEMBERED_MAX", 5)
    module = tracelink()
    for _ in range(20):
        module.on_request(exchange(headers={b"traceparent": CALLERS.encode()}))
    assert len(module._traces) == 5


def test_nothing_is_passed_on_when_propagation_is_off() -> None:
    x = exchange()
    tracelink(propagate=False).on_request(x)
    assert x.upstream_headers == []


def test_a_plain_call_is_not_kept_beside_its_row_and_a_failed_one_is_whatever_the_sampling() -> None:
    module = tracelink(sample_pct=0)
    good, bad = exchange(), exchange(status="error")
    for x in (good, bad):
        module.on_request(x)
        module.on_finish(x)
    assert [call.id for call in module._queue] == [bad.id]


def test_the_flag_of_a_caller_who_does_not_sample_is_honoured() -> None:
    module = tracelink()
    x = exchange(headers={b"traceparent": f"00-{TRACE}-{SPAN}-00".encode()})
    module.on_request(x)
    module.on_finish(x)
    assert len(module._queue) == 0


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValidationError, match="http://"):
        tracelink(otlp_url="ftp://x")
    with pytest.raises(ValidationError, match="no header"):
        tracelink(otlp_headers={"bad name": "x"})
    assert "geheim" not in tracelink(otlp_headers={"x-key": "geheim"}).settings.model_dump_json()


async def spans(s: Running, **which: str) -> list[Any]:
    await s.module("tracelink").tick()
    return await s.instance.core.database.read(lambda connection: waterfall(connection, **which))


async def test_the_provider_gets_the_callers_trace_with_another_span_and_the_waterfall_shows_both_attempts() -> None:
    async with running({"retry": {"base_delay_s": 0.001}}) as s:
        s.mock.script(status(503), text("ok"))
        await s.sdk().chat.completions.create(
            model=s.model, messages=[{"role": "user", "content": "hi"}], extra_headers={"traceparent": CALLERS}
        )
        version, trace, span, flags = s.mock.calls[0].headers["traceparent"].split("-")
        assert (version, trace, flags) == ("00", TRACE, "01") and span != SPAN
        found = await spans(s, trace_id=TRACE)
        root = next(one for one in found if one.parent_span_id == SPAN)
        attempts = [one for one in found if one.name == "attempt up"]
        assert root.span_id == span
        assert [one.attributes["http.response.status_code"] for one in attempts] == [503, 200]
        assert all(one.parent_span_id == root.span_id and one.start_ns >= root.start_ns for one in attempts)
        assert root.attributes["gen_ai.usage.output_tokens"] > 0


async def test_calls_of_one_session_are_one_waterfall() -> None:
    async with running() as s:
        for _ in range(2):
            await s.chat(headers={"X-Stockyard-Session": "agent-7"})
        found = await spans(s, session="agent-7")
        assert len({one.trace_id for one in found}) == 2
        assert sum(one.name.startswith("chat.completion") for one in found) == 2


async def test_first_content_is_an_event_of_a_streams_span() -> None:
    async with running() as s:
        s.mock.script(chunks(["one ", "two"]))
        async with s.http().stream(
            "POST", "/v1/chat/completions", json=s.body(stream=True), headers={"traceparent": CALLERS}
        ) as answer:
            await answer.aread()
        await s.settled()
        root = next(one for one in await spans(s, trace_id=TRACE) if one.parent_span_id == SPAN)
        ((name, at_ns),) = root.events
        assert name == "first content" and root.start_ns < at_ns <= root.end_ns


async def test_old_spans_are_deleted() -> None:
    async with running() as s:
        await s.chat(headers={"traceparent": CALLERS})
        assert await spans(s, trace_id=TRACE)
        writer, now_ns = s.instance.core.writer, s.instance.core.clock.wall_ns()
        assert await writer.write(lambda connection: delete_spans(connection, now_ns)) == 3
        assert await spans(s, trace_id=TRACE) == []


class Collector:
    """A small OTLP receiver; answers with the given statuses, then 200."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.bodies: list[Any] = []
        self.headers: list[dict[str, str]] = []

    async def __aenter__(self) -> "Collector":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1/traces"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        whole, parts, headers = asyncio.Event(), [], {}

        class Protocol:
            def on_header(self, name: bytes, value: bytes) -> None:
                headers[name.decode().lower()] = value.decode()

            def on_body(self, data: bytes) -> None:
                parts.append(data)

            def on_message_complete(self) -> None:
                whole.set()

        parser = httptools.HttpRequestParser(Protocol())
        while not whole.is_set():
            data = await reader.read(65536)
            if not data:
                return
            parser.feed_data(data)
        code = self.statuses.pop(0) if self.statuses else 200
        if code == 200:
            self.bodies.append(orjson.loads(b"".join(parts)))
            self.headers.append(headers)
        writer.write(b"HTTP/1.1 %d X\r\ncontent-length: 2\r\nretry-after: 0\r\nconnection: close\r\n\r\n{}" % code)
        writer.close()

    def spans(self) -> list[dict[str, Any]]:
        return [
            span
            for body in self.bodies
            for resource in body["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]


async def test_spans_reach_a_collector_with_the_right_parents_also_when_it_was_busy() -> None:
    async with Collector(503) as collector:
        settings = {"otlp_url": collector.url, "otlp_headers": {"x-key": "k1"}, "service_name": "desk"}
        async with running({"tracelink": settings}) as s:
            await s.chat(headers={"traceparent": CALLERS})
            await s.module("tracelink").tick()
            await until(lambda: bool(collector.bodies))
        exported = collector.spans()
        root = next(span for span in exported if span.get("parentSpanId") == SPAN)
        assert {span["traceId"] for span in exported} == {TRACE}
        assert {span["parentSpanId"] for span in exported} == {SPAN, root["spanId"]}
        assert collector.headers[0]["x-key"] == "k1"
        resource = collector.bodies[0]["resourceSpans"][0]["resource"]["attributes"]
        assert resource == [{"key": "service.name", "value": {"stringValue": "desk"}}]
        assert "hi" not in [attribute["value"].get("stringValue") for attribute in root["attributes"]]


async def test_what_is_queued_is_sent_when_the_instance_stops() -> None:
    async with Collector() as collector:
        async with running({"tracelink": {"otlp_url": collector.url}}) as s:
            await s.chat()
        assert len(collector.spans()) == 3


async def test_a_collector_that_is_down_costs_no_call() -> None:
    async with running({"tracelink": {"otlp_url": "http://127.0.0.1:1/v1/traces"}}) as s:
        assert (await s.chat()).status_code == 200
        exporter = s.module("tracelink").exporter
        await s.module("tracelink").tick()
        await until(lambda: exporter.last_error != "")


def test_prompts_are_exported_only_when_asked_for_and_as_they_may_be_stored() -> None:
    x = exchange(status="error")
    x.state["redact"] = lambda text: text.replace("hi", "[SECRET]")
    texts = []
    for export_text in (False, True):
        module = tracelink(export_text=export_text)
        module.on_request(x)
        module.on_finish(x)
        texts.append(module._queue[0].text)
    assert texts[0] == ""
    assert "[SECRET]" in texts[1] and '"hi"' not in texts[1]


async def test_a_hosted_instance_exports_to_public_addresses_only() -> None:
    async with Collector() as collector:
        exporter = Exporter(collector.url, {}, "desk", 10**6, allow_private_networks=False)
        x, module = exchange(status="error"), tracelink()
        module.on_request(x)
        module.on_finish(x)
        exporter.leave()
        exporter.add(module._queue[0])
        await exporter.flush()
        await exporter.close()
        assert (exporter.sent, exporter.dropped, collector.bodies) == (0, 1, [])
