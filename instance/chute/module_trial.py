"""One module tried on a sample: what it would do with a request and an answer, without a call being made."""

from __future__ import annotations

import asyncio
from time import perf_counter_ns, time_ns
from typing import TYPE_CHECKING, Any

import orjson

from instance.chute.answer import JSON, Answer
from instance.chute.caller import take_labels, take_user
from instance.chute.chain import Plan
from instance.chute.containment import Link
from instance.chute.exchange import Exchange
from instance.chute.explain import refusal_shown
from instance.chute.meter import Meter
from instance.chute.operations import CHAT
from instance.chute.shim import Shim
from instance.core.errors import StockyardError
from instance.core.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from instance.chute.app import Chute
    from instance.chute.module import Module
    from instance.core.principals import Principal

PATH = "/v1/chat/completions"
MODEL = "mock/gpt"
"""What a sample without a model asks for: the built-in one."""
TRIAL_S = 30.0
OF_THE_CALL = frozenset((7, 9, 11, 12))
"""Groups whose `around` decides how targets are called, and learns from it: on a sample there is nothing to learn."""


async def try_module_on(
    chute: Chute,
    principal: Principal,
    name: str,
    request: Mapping[str, Any],
    response: JSON | None,
    headers: Mapping[str, str],
) -> dict[str, Any]:
    """The request as the module leaves it, the answer likewise (`response`, or one of its own making), its decisions, and its
    refusal if it refuses. No other module runs; nothing is counted, stored, or asked of a provider (`x.dry`).

    A module that is off is started with its settings for as long as this takes. Raises `not_found`, `not_supported` for a
    shim, what its `start` refuses with, and what is wrong with the request itself.
    """
    async with asyncio.timeout(TRIAL_S), chute.registry.lent(name) as module:
        if isinstance(module, Shim):
            raise StockyardError("not_supported", f"{name} speaks to a provider, and none is called here.")
        x = _sample(chute, principal, request, headers)
        answer, rejected = await _tried(module, x, response)
    shown = None if answer is None else answer.obj if answer.obj is not None else _decoded(answer.body)
    return {
        "request": x.req,
        "response": shown,
        "decisions": x.decisions,
        "rejected": None if rejected is None else refusal_shown(rejected),
    }


def _sample(chute: Chute, principal: Principal, request: Mapping[str, Any], headers: Mapping[str, str]) -> Exchange:
    sent = {key.lower().encode("latin-1", "replace"): value.encode() for key, value in headers.items()}
    x = Exchange(new_id("tr_"), perf_counter_ns(), time_ns(), PATH, sent, CHAT)
    x.request_id = "req_" + x.id[3:]
    x.principal = principal
    x.client_ip = "127.0.0.1"
    x.dry = True
    x.raw = orjson.dumps({"model": MODEL, **request, "stream": False})
    take_labels(x)
    CHAT.take(x, chute.endpoint.limits)
    take_user(x)
    chute.targets.resolve(x)
    return x


async def _tried(module: Module, x: Exchange, response: JSON | None) -> tuple[Answer | None, StockyardError | None]:
    async def answered(x: Exchange) -> Answer:
        x.usage.take((response or {}).get("usage") or {})
        return Answer(body=orjson.dumps(response), obj=response, target=x.targets[0] if x.targets else None)

    plan = x.plan = Plan(0, "chat", [Link(module, Meter(), 0)], answered)
    if response is None or module.group in OF_THE_CALL:
        plan.call = answered
    try:
        answer = await plan.run(x)
        if answer.obj is None and answer.body in (None, b"", b"null"):
            return None, None
        plan.respond(x, answer)
    except StockyardError as refusal:
        return None, refusal
    return answer, None


def _decoded(body: bytes | None) -> Any:
    try:
        return orjson.loads(body or b"null")
    except orjson.JSONDecodeError:
        return None
