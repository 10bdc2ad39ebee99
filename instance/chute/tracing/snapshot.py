"""What is kept of a call that is over until its spans are made, off its way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from instance.chute.exchange import Exchange

TEXT_MAX_CHARACTERS = 8192


@dataclass(slots=True)
class CallSnapshot:
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
    target = answer.target if answer is not None else None
    reasons: tuple[str, ...] = ()
    if answer is not None and answer.obj is not None:
        choices = answer.obj.get("choices") or ()
        reasons = tuple(reason for choice in choices if isinstance(reason := choice.get("finish_reason"), str))
    return CallSnapshot(
        id=x.id,
        trace_id=x.otel_trace_id,
        span_id=x.otel_span_id,
        parent_span_id=parent_span_id,
        session=x.session,
        operation=x.operation.name,
        started_wall_ns=x.started_wall_ns,
        duration_ns=duration_ns,
        first_token_ns=x.first_token_ns - x.started_ns if x.first_token_ns else 0,
        stream=x.stream,
        model_requested=x.model_requested,
        provider=target.provider.name if target is not None else "",
        model=target.model if target is not None else "",
        status=x.status,
        http_status=x.http_status,
        error_code=x.error_code,
        tokens_in=x.usage.input,
        tokens_out=x.usage.output,
        finish_reasons=reasons,
        attempts=x.attempts,
        decisions=[decision for decision in x.decisions if decision["took_ns"] >= min_span_ns],
        text=_stored_prompt(x) if with_text else "",
    )


def _stored_prompt(x: Exchange) -> str:
    """The request as it may be stored; empty when secretscan is on and did not see it."""
    redact = x.state.get("redact")
    if x.stored_request is None and redact is None and x.plan is not None and x.plan.redacts:
        return ""
    text = (x.stored_request if x.stored_request is not None else x.operation.kept_request(x)).decode(
        "utf-8", "replace"
    )
    return (redact(text) if redact is not None else text)[:TEXT_MAX_CHARACTERS]
