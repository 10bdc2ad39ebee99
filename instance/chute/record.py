"""The record of a call: what the journal gets when the last byte is about to leave."""

from __future__ import annotations

from hashlib import sha256
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import orjson

from instance.chute.exchange import Exchange
from instance.chute.module import TEXT_KINDS
from instance.lookout.call_columns import CALL_KIND

if TYPE_CHECKING:
    from instance.chute.answer import Answer
    from instance.core.journal import Journal

CHARACTERS_PER_TOKEN = 4
ANSWER_ID_MAX_CHARACTERS = 128
MESSAGE_MAX_CHARACTERS = 2000
USER_AGENT_MAX_CHARACTERS = 256


def estimate_usage(x: Exchange) -> None:
    """Fill in usage that the provider did not report, at four characters a token; nothing when it was reported."""
    if x.kind not in TEXT_KINDS:
        if x.answer is not None:
            x.operation.measure(x)
        return
    usage = x.usage
    if usage.source or not x.attempts:
        return
    usage.source = "estimated"
    answer = x.answer
    if answer is None and not (x.text_out_size or x.beside_out_size):
        return
    # The body is longer than its texts where it holds an image.
    usage.input = max(1, min(len(x.raw) // CHARACTERS_PER_TOKEN, x.prompt_tokens()))
    if x.text_out_size or x.beside_out_size:
        usage.output = (x.text_out_size + x.beside_out_size) // CHARACTERS_PER_TOKEN + 1
    elif answer is not None and answer.body:
        usage.output = max(1, len(answer.body) // CHARACTERS_PER_TOKEN)


def _answer_id(answer: Answer | None) -> str:
    """The id that a whole answer has of its own; empty without one."""
    obj = answer.obj if answer is not None else None
    own = obj.get("id") if obj is not None else None
    return own[:ANSWER_ID_MAX_CHARACTERS] if type(own) is str else ""


def _texts(x: Exchange, response: bytes) -> tuple[bytes, bytes]:
    """The request and answer to keep, as llmtap decided, in the form that secretscan allows; empty for none."""
    state = x.state
    limit = state.get("capture", 0)
    if not limit:
        return b"", b""
    redact = state.get("redact")
    if redact is None and x.plan is not None and x.plan.redacts:
        return b"", b""
    request = x.stored_request if x.stored_request is not None else x.operation.kept_request(x)
    if x.stored_response is not None:
        response = x.stored_response
    return request[:limit], response[:limit]


def streamed_answer(x: Exchange) -> bytes:
    """A stream's texts as one chat answer, for storage; empty when no text came."""
    if not x.text_out_size:
        return b""
    redact = x.state.get("redact")
    choices = []
    for index, pieces in ((0, x.text_out), *sorted((x.text_beside or {}).items())):
        text = "".join(pieces)
        message = {"role": "assistant", "content": redact(text) if redact is not None else text}
        choices.append({"index": index, "message": message})
    return orjson.dumps({"object": "chat.completion", "choices": choices})


def write_record(journal: Journal, x: Exchange, response: bytes) -> None:
    """Append the call to the journal: one write. Raises `JournalUnavailable`.

    `response` is the answer as it was before the client's form, for digest and storage.
    """
    now = perf_counter_ns()
    duration = now - x.started_ns
    plan = x.plan
    answer = x.answer
    target = answer.target if answer is not None else None
    if target is None and x.targets and (x.attempts or x.status == "cache_hit"):
        target = x.targets[0]
    principal = x.principal
    usage, operation, started_ns = x.usage, x.operation, x.started_ns
    cost_nano = 0
    costs = []
    for what, nano in x.cost_lines:
        cost_nano += nano
        costs.append({"what": what, "nano": nano})
    provider = target.provider.name if target is not None else ""
    model = target.model if target is not None else ""
    overhead = duration - x.upstream_ns - x.waited_ns
    key_id = principal.key_text if principal is not None else ""
    columns = (
        x.id,
        x.request_id,
        x.parent_id,
        x.otel_trace_id,
        x.otel_span_id,
        "proxy",
        operation.name,
        x.source,
        operation.dialect,
        x.dialect_out or (f"{target.provider.dialect}.chat" if target is not None else ""),
        provider,
        model,
        x.model_requested,
        x.status,
        x.http_status,
        x.error_code,
        x.error_message[:MESSAGE_MAX_CHARACTERS],
        x.error_module,
        x.stream,
        x.started_wall_ns,
        duration // 1000,
        (x.first_token_ns - started_ns) // 1000 if x.first_token_ns else None,
        x.upstream_ns // 1000,
        overhead // 1000 if overhead > 0 else 0,
        usage.input,
        usage.output,
        usage.cached,
        usage.reasoning,
        usage.source,
        cost_nano,
        x.saved_nano,
        x.cache,
        len(x.attempts),
        x.project,
        x.user,
        x.team,
        key_id,
        principal.name if principal is not None else "",
        x.session,
        x.client_ip,
        x.user_agent[:USER_AGENT_MAX_CHARACTERS],
        x.bytes_out,
        len(plan.links) if plan is not None else 0,
        len(x.decisions),
        x.safety_count,
    )
    detail: dict[str, Any] = {
        "answer_id": x.answer_id or _answer_id(answer),
        "decisions": x.decisions,
        "attempts": x.attempts,
        "costs": costs,
    }
    if x.cost_unknown:
        detail["cost_unknown"] = True
    if x.tags:
        detail["tags"] = dict(x.tags)
    if x.measures is not None:
        detail["measures"] = x.measures
    if x.timings is not None:
        detail["timings"] = x.timings
    if x.raw_error:
        detail["upstream_excerpt"] = x.raw_error.decode("utf-8", "replace")
    proof = {
        "cost_nano": cost_nano,
        "http_status": x.http_status,
        "key_id": key_id,
        "model": model,
        "model_requested": x.model_requested,
        "provider": provider,
        "request_sha256": x.request_sha256 or sha256(x.raw).hexdigest(),
        "response_sha256": sha256(response).hexdigest(),
        "status": x.status,
        "tokens_in": usage.input,
        "tokens_out": usage.output,
    }
    if x.ledger_detail is not None:
        x.ledger_detail(x, proof, response)
    request_text, response_text = _texts(x, response)
    journal.append(
        CALL_KIND,
        orjson.dumps(columns),
        orjson.dumps(detail),
        orjson.dumps(proof, option=orjson.OPT_SORT_KEYS),
        request_text,
        response_text,
    )
