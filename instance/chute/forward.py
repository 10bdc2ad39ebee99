"""The innermost step of a call: one attempt at one target, and its answer."""

from __future__ import annotations

import asyncio
from time import perf_counter_ns
from typing import Any

import orjson

from instance.chute.answer import Answer
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed
from instance.chute.streaming import streamed
from instance.chute.targets import Target
from instance.chute.upstream import UpstreamError
from instance.core.errors import StockyardError

ANSWER_MAX_BYTES = 32 << 20
ERROR_BODY_MAX_BYTES = 64 << 10
READ_AHEAD_BYTES = 8 << 10
READ_AHEAD_CALLS = 4
"""A long request is digested and scanned while the provider is waited for, and so is any while the instance has little to do;
else that is cheaper done in one go with the answer."""
PATHS = {"chat": b"/chat/completions"}


def body_for(x: Exchange, target: Target) -> tuple[bytes, dict[str, Any]]:
    """The request's bytes for the target: those that came in when nothing has to change, else only what must.

    A stream asks for usage even when the caller did not; the chunk that carries it is then stripped on the way out.
    """
    req = x.req
    ask_usage = x.stream and not x.usage_asked and target.provider.stream_usage
    rename = req.get("model") != target.model
    if not x.changed and not rename:
        if not ask_usage:
            return x.raw, req
        raw = x.raw
        if "stream_options" not in req and raw[:1] == b"{":
            return b'{"stream_options":{"include_usage":true},' + raw[1:], req
    sent = dict(req)
    if rename:
        sent["model"] = target.model
    if ask_usage:
        options = req.get("stream_options")
        sent["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
    return orjson.dumps(sent), sent


async def forward(x: Exchange) -> Answer:
    """Send the call to the first of `x.targets`. Raises `CallFailed`; a streamed answer is returned with its first content."""
    targets = x.targets
    if not targets:
        error = x.state.get("no_target")
        raise (
            error
            if isinstance(error, StockyardError)
            else StockyardError("no_provider", "No target is left for this call.")
        )
    target = targets[0]
    provider = target.provider
    body, obj = body_for(x, target)
    started = perf_counter_ns()
    attempt = {
        "n": len(x.attempts) + 1,
        "provider": provider.name,
        "model": target.model,
        "key_name": provider.key_name,
        "started_ms": (started - x.started_ns) / 1e6,
        "duration_ms": None,
        "status": 0,
        "error": None,
    }
    x.attempts.append(attempt)
    if len(x.raw) > READ_AHEAD_BYTES or (x.plan is not None and x.plan.in_flight <= READ_AHEAD_CALLS):
        asyncio.get_running_loop().call_soon(x.read_ahead)
    response = None
    try:
        response = await provider.send(
            PATHS[x.kind],
            body,
            obj,
            stream=x.stream,
            headers=x.upstream_headers,
            connect_timeout_s=x.connect_timeout_s,
        )
        attempt["status"] = status = response.status
        if status != 200:
            raw = await response.read(ERROR_BODY_MAX_BYTES)
            raise CallFailed("http", target, status=status, headers=response.headers, body=raw)
        if x.stream:
            return await streamed(x, target, response, attempt, started)
        raw = await response.read(ANSWER_MAX_BYTES)
    except CallFailed as failure:
        attempt["error"] = failure.kind
        _ended(x, response, attempt, started)
        raise
    except UpstreamError as error:
        attempt["error"] = error.kind
        _ended(x, response, attempt, started)
        raise CallFailed(error.kind, target, reason=str(error)) from error
    except BaseException:
        attempt["error"] = "cancelled"
        _ended(x, response, attempt, started)
        raise
    now = perf_counter_ns()
    x.upstream_ns += now - started
    x.first_token_ns = now
    attempt["duration_ms"] = (now - started) / 1e6
    provider.health.observe(True, (now - started) // 1000)
    try:
        answer = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        attempt["error"] = "bad_response"
        raise CallFailed(
            "bad_response", target, status=status, headers=response.headers, body=raw[:ERROR_BODY_MAX_BYTES]
        ) from error
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        attempt["error"] = "bad_response"
        raise CallFailed(
            "bad_response", target, status=status, headers=response.headers, body=raw[:ERROR_BODY_MAX_BYTES]
        )
    usage = answer.get("usage")
    if usage:
        x.usage.take(usage)
    return Answer(headers=response.headers, body=raw, obj=answer, target=target)


def _ended(x: Exchange, response: Any, attempt: dict[str, Any], started: int) -> None:
    if response is not None:
        response.close()
    took = perf_counter_ns() - started
    x.upstream_ns += took
    attempt["duration_ms"] = took / 1e6
    error = attempt["error"]
    if error != "cancelled":
        x.targets[0].provider.health.observe(attempt["status"] == 400, took // 1000, str(error))
