"""The innermost step of a call: one attempt at one target, and its answer."""

from __future__ import annotations

import asyncio
from time import perf_counter_ns
from typing import Any

import orjson

from instance.chute.answer import Answer
from instance.chute.body import body_for
from instance.chute.direct import dispatch
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed
from instance.chute.operations import CHAT
from instance.chute.provider_limit import KEPT, within
from instance.chute.stream import EventSplitter
from instance.chute.streaming import streamed
from instance.chute.upstream import UpstreamError
from instance.core.errors import StockyardError

ANSWER_MAX_BYTES = 32 << 20
ERROR_BODY_MAX_BYTES = 64 << 10
READ_AHEAD_BYTES = 8 << 10
READ_AHEAD_CALLS = 4
"""A long request is digested and scanned while the provider is waited for, and so is any while the instance has little to do;
else that is cheaper done in one go with the answer."""
CHAT_PATH = b"/chat/completions"


async def forward(x: Exchange) -> Answer:
    """Send the call to the first of `x.targets`. Raises `CallFailed`; a streamed answer is returned with its first content."""
    targets = x.targets
    if not targets:
        error = x.state.get("no_target")
        raise (
            x.operation.no_target(x, error)
            if isinstance(error, StockyardError)
            else StockyardError("no_provider", "No target is left for this call.")
        )
    target = targets[0]
    provider = target.provider
    if provider.timeout_s is not None and not x.deadline_ns and KEPT not in x.state:
        return await within(x, target, provider.timeout_s, forward)
    if x.own_keys is not None:
        x.take_own_key(provider.name)
    if len(x.raw) > READ_AHEAD_BYTES or (x.plan is not None and x.plan.in_flight <= READ_AHEAD_CALLS):
        (asyncio.get_running_loop() if x.task is None else x.task.get_loop()).call_soon(x.read_ahead)
    if x.operation is not CHAT or provider.dialect != "openai":
        return await dispatch(x, target)
    body, obj = body_for(x, target)
    started = perf_counter_ns()
    attempt = {
        "n": len(x.attempts) + 1,
        "provider": provider.name,
        "model": target.model,
        "key_name": provider.key_name if x.provider_key is None else x.provider_key.name,
        "started_ms": (started - x.started_ns) / 1e6,
        "duration_ms": None,
        "status": 0,
        "error": None,
    }
    x.attempts.append(attempt)
    lens = x.lens
    if lens is not None:
        lens.sent(attempt, b"POST", CHAT_PATH, (), body)
    response = None
    try:
        response = await provider.send(
            CHAT_PATH,
            body,
            obj,
            stream=x.stream,
            headers=x.upstream_headers,
            connect_timeout_s=x.connect_timeout_s,
            key=x.provider_key,
            url=target.url,
        )
        attempt["status"] = status = response.status
        if status != 200:
            raw = await response.read(ERROR_BODY_MAX_BYTES)
            if lens is not None:
                lens.answered(attempt, raw)
            raise CallFailed("http", target, status=status, headers=response.headers, body=raw)
        if x.stream:
            return await streamed(x, target, response, attempt, started, EventSplitter())
        raw = await response.read(ANSWER_MAX_BYTES)
        if lens is not None:
            lens.answered(attempt, raw)
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
    choices = answer.get("choices") if type(answer) is dict else None
    if type(choices) is not list or not _are_objects(choices):
        attempt["error"] = "bad_response"
        raise CallFailed(
            "bad_response", target, status=status, headers=response.headers, body=raw[:ERROR_BODY_MAX_BYTES]
        )
    usage = answer.get("usage")
    if usage:
        x.usage.take(usage)
    x.mark_ns = perf_counter_ns()
    return Answer(headers=response.headers, body=raw, obj=answer, target=target)


def _are_objects(choices: list[Any]) -> bool:
    for choice in choices:  # noqa: SIM110 - a generator costs more than the question
        if type(choice) is not dict:
            return False
    return True


def _ended(x: Exchange, response: Any, attempt: dict[str, Any], started: int) -> None:
    if response is not None:
        response.close()
    x.mark_ns = perf_counter_ns()
    took = x.mark_ns - started
    x.upstream_ns += took
    attempt["duration_ms"] = took / 1e6
    error = attempt["error"]
    if error != "cancelled":
        x.targets[0].provider.health.observe(attempt["status"] == 400, took // 1000, str(error))
