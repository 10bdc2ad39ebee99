"""Calls that a module makes by itself (a judge, a translation, a summary): priced, and part of the exchange's cost.

A sub-request runs through the chain's innermost groups only, where a target is reached and spoken to, so that it never
recurses; nothing that rewrites or answers calls sees it. What it may reach is what the exchange may reach.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import orjson

from instance.chute.answer import JSON, Answer
from instance.chute.dialects.form_operation import FORM
from instance.chute.dialects.multipart import parse_form, written_form
from instance.chute.failures import CallFailed
from instance.chute.operations import CHAT, operation_of
from instance.chute.record import estimate_usage
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.app import Chute
    from instance.chute.exchange import Exchange
    from instance.chute.operation import Operation
    from instance.chute.targets import Target

SERVICE = "sub_requests"
TIMEOUT_S = 30.0
FORM_BOUNDARY = b"stockyard-7c1f0b5d9e3a48628f04d2a6b1c95e37"


class SubRequestFailed(Exception):
    """It gave no answer; the message says why and is fit for the trail."""


@dataclass(frozen=True, slots=True)
class SubAnswer:
    """What came back: the text of the first choice, the whole answer, and its cost in nano-dollars (`None`: not known)."""

    text: str
    obj: JSON
    cost_nano: int | None


class SubRequests:
    """`core.services["sub_requests"]`."""

    def __init__(self, chute: Chute) -> None:
        self._chute = chute

    def target(self, x: Exchange, model: str = "") -> Target:
        """Who answers for a model, or with none named who answers the exchange itself. Raises `SubRequestFailed`."""
        try:
            found = self._chute.providers.resolve(model) if model else x.targets
        except StockyardError as error:
            raise SubRequestFailed(error.message) from None
        for target in found:
            if all(allows(target) for allows in x.allow):
                return target
        raise SubRequestFailed(f"no target that this call may use serves {model or 'it'}")

    async def ask(
        self,
        x: Exchange,
        module: str,
        what: str,
        messages: Sequence[JSON],
        *,
        model: str = "",
        timeout_s: float = TIMEOUT_S,
        **parameters: Any,
    ) -> SubAnswer:
        """A whole chat call. `what` names it in the cost (`module:what:input`) and in the trail; `parameters` are OpenAI's.

        Raises `SubRequestFailed`, of which the trail has an entry then.
        """
        body: JSON = {"messages": list(messages), **parameters}
        answer, branch = await self._call(x, module, what, body, CHAT, model, timeout_s)
        obj = answer.obj or {}
        return SubAnswer(_text(obj), obj, None if branch.cost_unknown else branch.cost_nano)

    async def moderate(
        self, x: Exchange, module: str, text: str, *, model: str, timeout_s: float = TIMEOUT_S
    ) -> dict[str, float]:
        """What a provider's moderation endpoint says of a text: its categories' scores, 0 to 1. Raises `SubRequestFailed`."""
        operation = operation_of("/v1/moderations")
        assert operation is not None
        answer, _ = await self._call(x, module, "moderation", {"input": text}, operation, model, timeout_s)
        results = (answer.obj or {}).get("results")
        scores = results[0].get("category_scores") if type(results) is list and results else None
        if type(scores) is not dict:
            raise SubRequestFailed("the moderation endpoint gave no scores")
        return {name: float(score) for name, score in scores.items() if isinstance(score, int | float)}

    async def transcribe(
        self, x: Exchange, module: str, data: bytes, filename: str, *, model: str, timeout_s: float = TIMEOUT_S
    ) -> str:
        """What is said in a recording. Raises `SubRequestFailed`, of which the trail has an entry then."""
        operation = operation_of("/v1/audio/transcriptions")
        assert operation is not None
        answer, _ = await self._call(x, module, "transcript", {}, operation, model, timeout_s, file=(filename, data))
        return str((answer.obj or {}).get("text") or "")

    async def _call(
        self,
        x: Exchange,
        module: str,
        what: str,
        body: JSON,
        operation: Operation,
        model: str,
        timeout_s: float,
        file: tuple[str, bytes] | None = None,
    ) -> tuple[Answer, Exchange]:
        assert x.plan is not None
        if x.dry:
            raise SubRequestFailed("no provider is asked about a call that is only explained")
        began = perf_counter_ns()
        branch: Exchange | None = None
        try:
            target = self.target(x, model)
            branch = x.branch([target])
            branch.operation = operation
            branch.kind = operation.kind
            branch.native = None
            branch.stream = False
            branch.sampled = False
            branch.req = {"model": target.model, **body}
            branch.model_requested = target.label
            branch.raw = orjson.dumps(branch.req)
            if file is not None:
                _put_form(branch, target.model, *file)
            branch.request_sha256 = ""
            branch.changed = file is None
            with x.elsewhere():
                async with asyncio.timeout(timeout_s):
                    answer = await x.plan.inner(branch)
        except (SubRequestFailed, CallFailed, StockyardError, TimeoutError) as failure:
            why = f"no answer within {timeout_s:g} s" if isinstance(failure, TimeoutError) else str(failure)[:300]
            x.note("sub_request_failed", {"what": what, "error": why}, module=module)
            if branch is not None:
                self._settle(x, branch, module, what, began)
            raise SubRequestFailed(why) from failure
        branch.answer = answer
        estimate_usage(branch)
        self._chute.price(branch)
        self._settle(x, branch, module, what, began)
        return answer, branch

    def _settle(self, x: Exchange, branch: Exchange, module: str, what: str, began: int) -> None:
        """Take its attempts and costs over; the time that it took was nobody's overhead."""
        branch.cost_lines = [(f"{module}:{what}:{line}", nano) for line, nano in branch.cost_lines]
        hook, current = x.current_hook, x.current_module
        x.absorb(branch, served=False)
        x.current_hook, x.current_module = hook, current
        now = perf_counter_ns()
        x.waited_ns += now - began
        x.mark_ns = now


def _put_form(branch: Exchange, model: str, filename: str, data: bytes) -> None:
    """Make the branch's request a form with a file in it."""
    branch.raw = written_form({"model": model}, "file", filename, data, FORM_BOUNDARY)
    content_type = b"multipart/form-data; boundary=" + FORM_BOUNDARY
    branch.headers = {**branch.headers, b"content-type": content_type}
    form = branch.state[FORM] = parse_form(branch.raw, content_type)
    branch.req = form.fields()


def _text(obj: JSON) -> str:
    for choice in obj.get("choices") or ():
        content = (choice.get("message") or {}).get("content")
        return content if isinstance(content, str) else ""
    return ""
