"""What is kept of a call that is over until its spans are made, off its way."""

from __future__ import annotations

from typing import Any, NamedTuple

from instance.chute.exchange import Exchange

TEXT_MAX_CHARACTERS = 8192


class CallSnapshot(NamedTuple):
    """One call in small: no bodies, but the prompt in `text` when it was asked for."""

    id: str
    trace_id: str
    span_id: str
    parent_span_id: str
    session: str
    operation: str
    started_wall_ns: int
    duration_ns: int
    first_token_ns: int
    """After the start; 0 when no content came."""
    stream: bool
    model_requested: str
    provider: str
    model: str
    status: str
    http_status: int
    error_code: str
    tokens_in: int
    tokens_out: int
    finish_reasons: tuple[str, ...]
    attempts: list[dict[str, Any]]
    decisions: list[dict[str, Any]]
    text: str = ""


def take_snapshot(
    x: Exchange, parent_span_id: str, duration_ns: int, min_span_ns: int, *, with_text: bool
) -> CallSnapshot:
    """The call as it is at its end; of its decisions those that took `min_span_ns` or longer."""
    answer = x.answer
    provider = model = ""
    reasons: tuple[str, ...] = ()
    if answer is not None:
        target, obj = answer.target, answer.obj
        if target is not None:
            provider, model = target.provider.name, target.model
        if obj is not None:
            for choice in obj.get("choices") or ():
                reason = choice.get("finish_reason")
                if isinstance(reason, str):
                    reasons = (*reasons, reason)
    long = []
    for decision in x.decisions:
        if decision["took_ns"] >= min_span_ns:
            long.append(decision)
    usage, first_ns = x.usage, x.first_token_ns
    values = (
        x.id,
        x.otel_trace_id,
        x.otel_span_id,
        parent_span_id,
        x.session,
        x.operation.name,
        x.started_wall_ns,
        duration_ns,
        first_ns - x.started_ns if first_ns else 0,
        x.stream,
        x.model_requested,
        provider,
        model,
        x.status,
        x.http_status,
        x.error_code,
        usage.input,
        usage.output,
        reasons,
        x.attempts,
        long,
        _stored_prompt(x) if with_text else "",
    )
    return tuple.__new__(CallSnapshot, values)  # as `CallSnapshot(...)`, but for a call of Python's own


def _stored_prompt(x: Exchange) -> str:
    """The request as it may be stored; empty when secretscan is on and did not see it."""
    redact = x.state.get("redact")
    if x.stored_request is None and redact is None and x.plan is not None and x.plan.redacts:
        return ""
    text = (x.stored_request if x.stored_request is not None else x.operation.kept_request(x)).decode(
        "utf-8", "replace"
    )
    return (redact(text) if redact is not None else text)[:TEXT_MAX_CHARACTERS]
