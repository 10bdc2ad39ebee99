"""The spans of one call: itself, the chain before the first attempt, each attempt and each module that took long."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from instance.chute.tracing.context import new_span_id
from instance.chute.tracing.snapshot import CallSnapshot

SERVER = 2
CLIENT = 3
INTERNAL = 1
SPANS_MAX = 64


@dataclass(slots=True)
class Span:
    """One span, its times in nanoseconds since 1970. `error` is a code, empty when all went well."""

    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    kind: int
    start_ns: int
    end_ns: int
    call_id: str
    session: str
    error: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)
    events: list[tuple[str, int]] = field(default_factory=list)


def spans_of(call: CallSnapshot, min_span_ns: int) -> list[Span]:
    """The call's spans, its own first; at most `SPANS_MAX`. Names and attributes as in OpenTelemetry's GenAI conventions."""
    root = _root(call)
    spans = [root]
    if call.attempts:
        _child(spans, root, "chain", INTERNAL, 0, _ns(call.attempts[0]["started_ms"]))
    for attempt in call.attempts:
        start = _ns(attempt["started_ms"])
        took = attempt["duration_ms"]
        span = _child(
            spans,
            root,
            f"attempt {attempt['provider']}",
            CLIENT,
            start,
            start + _ns(took) if took is not None else call.duration_ns,
        )
        span.error = attempt["error"] or ""
        span.attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.system": attempt["provider"],
            "gen_ai.request.model": attempt["model"],
            "stockyard.attempt": attempt["n"],
            "stockyard.key_name": attempt["key_name"],
        }
        if attempt["status"]:
            span.attributes["http.response.status_code"] = attempt["status"]
        if span.error:
            span.attributes["error.type"] = span.error
    seen: set[tuple[str, str]] = set()
    for decision in call.decisions:
        took_ns, place = decision["took_ns"], (decision["module"], decision["hook"])
        if took_ns >= min_span_ns and place not in seen:
            seen.add(place)
            start = max(0, decision["at_ns"] - took_ns)
            span = _child(spans, root, f"module {decision['module']}", INTERNAL, start, start + took_ns)
            span.attributes = {"stockyard.hook": decision["hook"], "stockyard.action": decision["action"]}
    return spans[:SPANS_MAX]


def _root(call: CallSnapshot) -> Span:
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": call.model_requested,
        "http.response.status_code": call.http_status,
        "stockyard.trace_id": call.id,
        "stockyard.status": call.status,
        "stockyard.stream": call.stream,
    }
    if call.provider:
        attributes["gen_ai.system"] = call.provider
        attributes["gen_ai.response.model"] = call.model
        attributes["gen_ai.usage.input_tokens"] = call.tokens_in
        attributes["gen_ai.usage.output_tokens"] = call.tokens_out
    if call.finish_reasons:
        attributes["gen_ai.response.finish_reasons"] = list(call.finish_reasons)
    if call.session:
        attributes["session.id"] = call.session
    if call.error_code:
        attributes["error.type"] = call.error_code
    if call.text:
        attributes["gen_ai.prompt"] = call.text
    start = call.started_wall_ns
    root = Span(
        call.trace_id,
        call.span_id,
        call.parent_span_id,
        f"{call.operation} {call.model_requested}".strip(),
        SERVER,
        start,
        start + call.duration_ns,
        call.id,
        call.session,
        call.error_code,
        attributes,
    )
    if call.first_token_ns:
        root.events.append(("first content", start + call.first_token_ns))
    return root


def _child(spans: list[Span], root: Span, name: str, kind: int, start_ns: int, end_ns: int) -> Span:
    """Add a span below `root`; times are nanoseconds after its start."""
    begin = root.start_ns
    span = Span(
        root.trace_id,
        new_span_id(),
        root.span_id,
        name,
        kind,
        begin + start_ns,
        begin + max(start_ns, end_ns),
        root.call_id,
        root.session,
    )
    spans.append(span)
    return span


def _ns(ms: float) -> int:
    return round(ms * 1e6)
