"""One call that several targets are asked for, from the questions to the answer that is delivered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from copy import copy
from random import Random
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

import orjson

from instance.chute.answer import Answer, Delta
from instance.chute.embedding.late import ACTION, EmbedderLate
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed, as_error
from instance.chute.modules.caching.stream_replay import replay
from instance.chute.modules.forge.agreement import verdict, verdict_by_meaning
from instance.chute.modules.forge.contenders import Contender, ask_all, settle
from instance.chute.modules.forge.second_opinion import judge_request, merge_request, picked
from instance.core.clock import Clock
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from instance.chute.embedding.embedder import Embedder
    from instance.chute.module import Call
    from instance.chute.modules.forge.multi_route import MultiRoute
    from instance.chute.targets import Target


ALIKE = (400, 413, 429)
"""Statuses that the caller gets where all targets gave the same one."""


class Caller(Protocol):
    """What a round needs of the module."""

    name: ClassVar[str]
    timeout_s: float
    random: Random
    clock: Clock
    embedder: Embedder | None

    def resolve(self, label: str) -> Target:
        """The target of a model's name. Raises `StockyardError`."""

    @property
    def price(self) -> Callable[[Any], None] | None:
        """What adds the cost lines of a branch."""


class Round:
    """One call that several targets are asked for."""

    def __init__(self, caller: Caller, x: Exchange, call: Call, route: MultiRoute, targets: list[Target]) -> None:
        self._module = caller
        self._x = x
        self._call = call
        self._route = route
        self._live = x.stream and route.strategy == "fastest"
        self._contenders = [Contender(target, self._branch(target)) for target in targets]

    def _branch(self, target: Target) -> Exchange:
        """The call to one target; whole where its answer has to be compared."""
        x = self._x
        branch = x.branch([target])
        if x.stream and not self._live:
            branch.stream = False
            branch.req = {name: value for name, value in x.req.items() if name not in ("stream", "stream_options")}
            branch.changed = True
        return branch

    async def answer(self) -> Answer:
        x, route, module = self._x, self._route, self._module
        began = perf_counter_ns()
        needed = 1 if route.strategy == "fastest" else route.quorum or len(self._contenders)
        with x.elsewhere():
            await ask_all(
                self._contenders,
                self._call,
                needed=needed,
                wait_s=route.wait_s,
                timeout_s=module.timeout_s,
            )
        for contender in self._contenders:
            settle(contender, module.price)
        good = [contender for contender in self._contenders if contender.ok]
        if not good:
            self._absorb(None)
            self._waited(began)
            raise self._all_failed()
        answer, winner, detail = await self._decided(good)
        self._absorb(winner)
        self._waited(began)
        label = winner.label if winner is not None else "all"
        x.note(
            "winner", {"route": route.name, "strategy": route.strategy, "target": label, **detail}, module=module.name
        )
        x.response_headers.append((b"x-stockyard-winner", label.encode("latin-1", "replace")))
        x.answer = answer
        if detail.get("disagree") and route.on_disagree == "reject":
            raise StockyardError(
                "no_consensus",
                f"The models agree by {detail['agreement']:.2f}, less than {route.min_agreement:g}.",
                module=module.name,
                details={"agreement": detail["agreement"]},
            )
        if self._live:
            return self._streaming(answer, winner)
        if x.stream and answer.obj is not None:
            events = replay(answer.obj, module.clock, 0)
            if route.strategy == "all":
                events = self._counted_apart(events)
            return Answer(headers=answer.headers, events=events, target=answer.target)
        return answer

    async def _decided(self, good: list[Contender]) -> tuple[Answer, Contender, dict[str, Any]]:
        """The answer to deliver, whose usage is the call's, and what the trail says of it."""
        strategy = self._route.strategy
        if strategy == "judge" and len(good) > 1:
            return await self._judged(good)
        if strategy == "merge" and len(good) > 1:
            return await self._merged(good)
        if strategy == "all":
            return _all_of(good), good[0], {}
        detail: dict[str, Any] = {}
        if strategy == "consensus":
            texts = [contender.text for contender in good]
            embedder = self._module.embedder if self._route.similarity != "lexical" else None
            try:
                found = verdict(texts) if embedder is None else await verdict_by_meaning(texts, embedder, self._x)
            except EmbedderLate as late:
                self._x.note(ACTION, {"reason": late.reason, "instead": "words"}, module=self._module.name)
                embedder, found = None, verdict(texts)
            winner = good[found.place]
            detail = {"agreement": round(found.agreement, 2), "by": found.by}
            if found.by == "similarity":
                detail["similarity"] = "lexical" if embedder is None else "embedder"
            if found.agreement < self._route.min_agreement:
                detail["disagree"] = True
        elif strategy == "cheapest":
            winner = min(good, key=lambda one: float("inf") if one.cost_nano is None else one.cost_nano)
        elif strategy == "longest":
            winner = max(good, key=lambda one: len(one.text))
        elif strategy == "shortest":
            winner = min(good, key=lambda one: len(one.text))
        else:
            winner = min(good, key=lambda one: one.took_ns)
        assert winner.answer is not None
        return winner.answer, winner, detail

    async def _judged(self, good: list[Contender]) -> tuple[Answer, Contender, dict[str, Any]]:
        """What a judge picks, who sees the answers shuffled and unnamed; without its word the first acceptable."""
        order = good[:]
        self._module.random.shuffle(order)
        detail: dict[str, Any] = {}
        index = None
        judge = self._judge()
        if judge is not None:
            detail["judge"] = judge.label
            branch = judge_request(self._x, [judge], [contender.text for contender in order])
            asked = await self._sub_request(branch, "judge")
            self._spent(asked, "judge")
            index = picked(asked.text, len(order)) if asked.answer is not None else None
        if index is None:
            detail["no_judgement"] = True
        winner = good[0] if index is None else order[index]
        assert winner.answer is not None
        return winner.answer, winner, detail

    async def _merged(self, good: list[Contender]) -> tuple[Answer, Contender, dict[str, Any]]:
        """One answer written from all; without it the longest."""
        judge = self._judge()
        if judge is not None:
            branch = merge_request(self._x, [judge], [contender.text for contender in good])
            writer = await self._sub_request(branch, "merge")
            said = writer.answer
            if said is not None and writer.text.strip():
                said.native = "openai.chat"
                said.body = orjson.dumps(said.obj)
                return said, writer, {"merged_by": judge.label}
            self._spent(writer, "merge")
        longest = max(good, key=lambda one: len(one.text))
        assert longest.answer is not None
        return longest.answer, longest, {"not_merged": True}

    def _judge(self) -> Target | None:
        """Who judges or merges: the route's own choice, which policies on targets may forbid."""
        try:
            target = self._module.resolve(self._route.judge_model or self._route.targets[0])
        except StockyardError as error:
            self._x.note("sub_request_failed", {"error": error.message[:300]}, module=self._module.name)
            return None
        return target if all(allows(target) for allows in self._x.allow) else None

    async def _sub_request(self, branch: Exchange, what: str) -> Contender:
        """A priced call of our own; without an answer when it failed, which the trail says."""
        x = self._x
        asked = Contender(branch.targets[0], branch)
        try:
            with x.elsewhere():
                asked.answer = await self._call(branch)
        except (CallFailed, StockyardError) as failure:
            x.note("sub_request_failed", {"what": what, "error": str(failure)[:300]}, module=self._module.name)
        settle(asked, self._module.price)
        return asked

    def _spent(self, asked: Contender, what: str) -> None:
        """Take over what a call of our own cost that is not delivered."""
        branch = asked.branch
        branch.cost_lines = [(f"{self._module.name}:{what}:{line}", nano) for line, nano in branch.cost_lines]
        self._x.absorb(branch, served=False)

    def _absorb(self, winner: Contender | None) -> None:
        """Take over what all branches left; the winner's usage becomes the call's, which is priced at its end."""
        x, module = self._x, self._module
        for contender in self._contenders:
            branch = contender.branch
            lost = contender is not winner
            if lost:
                label = contender.label
                branch.cost_lines = [(f"{module.name}:{label}:{line}", nano) for line, nano in branch.cost_lines]
                x.cost_unknown = x.cost_unknown or branch.cost_unknown
                x.absorb(branch, served=False)
            else:
                self._serve(branch)
            x.note(
                "asked",
                {
                    "target": contender.label,
                    "ms": round(contender.took_ns / 1e6, 1) if contender.ended else None,
                    "cost_usd": None if contender.cost_nano is None else contender.cost_nano / 1e9,
                    "ok": contender.ok,
                    **({} if contender.ok else {"why": contender.reason()}),
                },
                module=module.name,
            )

        if winner is not None and winner not in self._contenders:
            self._serve(winner.branch)

    def _serve(self, branch: Exchange) -> None:
        """Make what was used for the delivered answer the call's own."""
        x = self._x
        branch.cost_lines = []
        x.state.update(branch.state)
        branch.state = x.state
        x.absorb(branch, served=True)

    async def _counted_apart(self, events: AsyncIterator[list[Delta]]) -> AsyncIterator[list[Delta]]:
        """The stream of all answers: the usage that it tells is the sum of theirs, and the call's own only that of one."""
        x = self._x
        async for batch in events:
            for delta in batch:
                own = x.usage
                x.usage = copy(own)
                yield [delta]
                x.usage = own

    def _waited(self, began: int) -> None:
        """Waiting for several at once is nobody's overhead."""
        x = self._x
        now = perf_counter_ns()
        x.waited_ns += max(0, now - began - x.upstream_ns - x.waited_ns)
        x.mark_ns = now

    def _streaming(self, answer: Answer, winner: Contender) -> Answer:
        source = answer.events
        assert source is not None
        answer.events = self._timed(source, winner.branch)
        return answer

    async def _timed(self, source: AsyncIterator[list[Delta]], branch: Exchange) -> AsyncIterator[list[Delta]]:
        """The winner's events; the time that they are waited for is the provider's."""
        known = branch.upstream_ns
        async with aclosing(cast("AsyncGenerator[list[Delta], None]", source)) as events:
            async for batch in events:
                self._x.upstream_ns += branch.upstream_ns - known
                known = branch.upstream_ns
                yield batch

    def _all_failed(self) -> StockyardError:
        """Why nobody answered; with the status of all where they refused alike, as what the caller sent is the reason then."""
        reasons = {contender.label: contender.reason() for contender in self._contenders}
        said = "; ".join(f"{label}: {reason}" for label, reason in reasons.items())
        error = StockyardError(
            "all_targets_failed",
            f"None of the {len(reasons)} targets gave an acceptable answer: {said}",
            details=reasons,
            module=self._module.name,
        )
        refusals = [error if one.error is None else as_error(one.error) for one in self._contenders]
        status, *others = {refusal.status for refusal in refusals}
        if not others and status in ALIKE:
            error.status = status
            error.retryable = status == 429
            waits = [wait for refusal in refusals if (wait := refusal.headers.get("Retry-After", "")).isdecimal()]
            if waits:
                error.headers["Retry-After"] = min(waits, key=int)
        return error


def _all_of(good: list[Contender]) -> Answer:
    """Every answer as a choice of its own; the usage is the sum of theirs."""
    first = good[0].answer
    assert first is not None and first.obj is not None
    obj = dict(first.obj)
    choices: list[dict[str, Any]] = []
    usage: dict[str, int] = {}
    for contender in good:
        answer = contender.answer
        assert answer is not None and answer.obj is not None
        for choice in answer.obj["choices"]:
            choices.append({**choice, "index": len(choices)})
        for name, count in (answer.obj.get("usage") or {}).items():
            if type(count) is int:
                usage[name] = usage.get(name, 0) + count
    obj["choices"] = choices
    if usage:
        obj["usage"] = usage
    return Answer(headers=first.headers, body=orjson.dumps(obj), obj=obj, target=first.target)
