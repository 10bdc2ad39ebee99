"""What would happen to a call: its way through the chain as far as the provider, without being made."""

from __future__ import annotations

from time import perf_counter_ns, time_ns
from typing import TYPE_CHECKING, Any

import orjson

from instance.chute.caller import model_allowed, take_labels, take_user
from instance.chute.exchange import Exchange
from instance.chute.operations import PATHS, operation_of
from instance.chute.tokens import count_prompt_tokens
from instance.chute.worst_case import worst_case_nano
from instance.core.errors import StockyardError
from instance.core.ids import new_id
from instance.core.money import nano_to_usd

if TYPE_CHECKING:
    from collections.abc import Mapping

    from instance.chute.app import Chute
    from instance.chute.chain import Plan
    from instance.chute.targets import Target
    from instance.core.principals import Principal


async def explain(
    chute: Chute, principal: Principal, path: str, body: Mapping[str, Any], headers: Mapping[str, str]
) -> dict[str, Any]:
    """The targets, decisions, request and price that a call of this key would have now, or why it would be refused.

    The hooks before the call run as they would, with `x.dry` set: what they count, reserve or store stays as it is, and no
    provider is asked. Raises `invalid_value` for a path that takes no JSON call.
    """
    operation = operation_of(path)
    if operation is None or operation.multipart:
        known = ", ".join(sorted(name for name in PATHS if not operation_of(name).multipart))  # type: ignore[union-attr]
        raise StockyardError("invalid_value", f"`path` is one of {known}.", param="path")
    sent = {name.lower().encode("latin-1", "replace"): value.encode() for name, value in headers.items()}
    x = Exchange(new_id("tr_"), perf_counter_ns(), time_ns(), path, sent, operation)
    x.request_id = "req_" + x.id[3:]
    if principal.multi_client:
        principal = chute.core.keys.for_client(principal, sent.get(chute.core.keys.client_header))
    x.principal = principal
    x.dry = True
    x.raw = orjson.dumps(body)
    plan = x.plan = chute.registry.plan(operation.kind, client=principal.client)
    answered_by = ""
    rejected: StockyardError | None = None
    plan.in_flight += 1
    try:
        take_labels(x)
        operation.take(x, chute.endpoint.limits)
        take_user(x)
        if x.model_requested:
            model_allowed(principal, x.model_requested)
        chute.targets.resolve(x)
        if operation.prepares:
            await operation.prepare(x, chute.core.services, chute.endpoint.limits)
        answered_by = await _decide(plan, x)
        if not answered_by and not x.targets:
            waiting = x.state.get("no_target")
            rejected = waiting if isinstance(waiting, StockyardError) else None
    except StockyardError as error:
        rejected = error
    finally:
        plan.in_flight -= 1
        if plan.retired is not None and not plan.in_flight:
            plan.retired()
    return {
        "targets": [_shown(target) for target in chute.targets.permitted(x, x.targets)],
        "route": x.route.id if x.route is not None else None,
        "decisions": x.decisions,
        "request_after": {**x.req, "model": x.targets[0].model} if x.targets else x.req or None,
        "estimate": _estimate(chute, x) if x.req else None,
        "answered_by": answered_by or None,
        "rejected": None if rejected is None else refusal_shown(rejected),
    }


async def _decide(plan: Plan, x: Exchange) -> str:
    """The hooks before the call, as `Plan.run` runs them but uncounted; the name of the module that answered, if one did.

    Raises `StockyardError` when one refuses.
    """
    for hook, link, awaits in plan.steps:
        x.current_module = link.name
        x.current_hook = "prepare" if awaits else "on_request"
        try:
            answer = await hook(x) if awaits else hook(x)
        except StockyardError as error:
            error.module = error.module or link.name
            x.note("reject", {"code": error.code})
            raise
        except Exception as error:  # the module's own failure: shown in the decisions, then open or closed as in a call
            x.note("module_error", {"error": type(error).__name__, "on_error": "closed" if link.closed else "open"})
            if link.closed:
                raise StockyardError(
                    "module_failed", f"The module {link.name!r} failed and refuses calls then.", module=link.name
                ) from error
            continue
        if answer is not None:
            return link.name
    return ""


def _shown(target: Target) -> dict[str, Any]:
    return {
        "target": target.label,
        "provider": target.provider.name,
        "model": target.model,
        "region": target.region or None,
        "status": target.provider.status,
    }


def _estimate(chute: Chute, x: Exchange) -> dict[str, Any]:
    """What the prompt counts and the call costs at most at its first target; no cost where that has no price."""
    tokens_in = count_prompt_tokens(x.req)
    if not x.targets:
        return {"tokens_in": tokens_in, "cost_usd": None}
    nano, unpriced = worst_case_nano(x.branch(x.targets[:1]), chute.prices)
    return {"tokens_in": tokens_in, "cost_usd": None if unpriced is not None else nano_to_usd(nano)}


def refusal_shown(error: StockyardError) -> dict[str, Any]:
    """A refusal as an answer of 200 tells it."""
    return {
        "code": error.code,
        "message": error.message,
        "status": error.status,
        "param": error.param,
        "module": error.module or None,
    }
