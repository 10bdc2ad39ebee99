"""multicall: asks several models at once and delivers the fastest, the cheapest, what most say, or one made of all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from fnmatch import fnmatchcase
from random import Random
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import orjson
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from instance.chute.answer import Answer, Delta
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed
from instance.chute.module import TEXT_KINDS, Call, Module, ModuleSettings
from instance.chute.modules.caching.stream_replay import replay
from instance.chute.modules.forge.agreement import verdict
from instance.chute.modules.forge.contenders import Contender, ask_all, settle, text_of
from instance.chute.modules.forge.second_opinion import judge_request, merge_request, picked
from instance.core.clock import Clock
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from instance.chute.router import Router
    from instance.chute.targets import Target
    from instance.core.core import Core

PREFIX = "multi:"
HEADERS = (b"x-stockyard-route", b"x-multicall-route")
TARGETS_MAX = 8
ROUTES_MAX = 100
Strategy = Literal["fastest", "cheapest", "longest", "shortest", "consensus", "judge", "merge", "all"]


class MultiRoute(BaseModel):
    """Which targets are asked together, and which answer is delivered."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        min_length=1, max_length=100, description="Asked for as model multi:NAME or by X-Stockyard-Route."
    )
    match: str = Field(
        default="", max_length=200, description="Glob of asked models that take this route; empty: none."
    )
    targets: list[str] = Field(min_length=2, max_length=TARGETS_MAX, description="Models as provider/model, 2 to 8.")
    strategy: Strategy = Field(
        default="fastest",
        description="fastest, cheapest, longest or shortest acceptable answer; consensus: what most say; judge: a model picks; "
        "merge: a model writes one of all; all: each as a choice of its own.",
    )
    quorum: int = Field(default=0, ge=0, le=TARGETS_MAX, description="Acceptable answers to decide with; 0: all.")
    wait_s: float = Field(
        default=10.0,
        gt=0,
        le=600,
        description="Seconds after the first acceptable answer in which others are waited for.",
    )
    judge_model: str = Field(
        default="", max_length=200, description="Model that judges or merges; empty: the first target."
    )
    on_disagree: Literal["deliver", "flag", "reject"] = Field(
        default="flag", description="What happens below min_agreement: delivered, delivered and flagged, or 422."
    )
    min_agreement: float = Field(default=0.5, ge=0, le=1, description="Agreement from which a consensus is one.")
    similarity: Literal["lexical", "embedder"] = Field(
        default="lexical",
        description="How prose is compared: lexical by shared words and pairs of words; embedder by meaning, which needs the "
        "bundled embedder and is refused while that is not part of this version.",
    )

    @field_validator("targets")
    @classmethod
    def _named_whole(cls, targets: list[str]) -> list[str]:
        for target in targets:
            if target.startswith(PREFIX):
                raise ValueError(f"{target!r} is a route; a target is provider/model")
        return targets


class MultiCall(Module):
    """Sends one request to several targets at once. An answer is acceptable when it is no error, not empty, and was finished.

    Every answer that came is paid for and part of the call's cost. A caller who streams gets the fastest as it comes; what
    has to be compared is awaited first and then streamed.
    """

    name: ClassVar[str] = "multicall"
    category: ClassVar[str] = "forge"
    group: ClassVar[int] = 10
    summary: ClassVar[str] = "Asks several models at once and delivers the best answer"
    kinds: ClassVar[frozenset[str]] = TEXT_KINDS

    class Settings(ModuleSettings):
        routes: list[MultiRoute] = Field(default=[], max_length=ROUTES_MAX, description="The routes.")
        max_targets: int = Field(default=8, ge=2, le=TARGETS_MAX, description="Most targets of one call.")
        timeout_s: float = Field(default=60.0, gt=0, le=3600, description="Seconds that all of them may take.")

        @model_validator(mode="after")
        def _names_differ(self) -> MultiCall.Settings:
            if len({route.name for route in self.routes}) < len(self.routes):
                raise ValueError("two routes have the same name")
            return self

    settings: Settings

    def __init__(self, settings: ModuleSettings, *, random: Random | None = None) -> None:
        super().__init__(settings)
        self._random = random or Random()
        self._clock = Clock()
        self._core: Core | None = None
        self._by_name = {route.name: route for route in self.settings.routes}
        self._by_glob = [route for route in self.settings.routes if route.match]

    def hooks(self) -> tuple[str, ...]:
        return super().hooks() if self.settings.routes else ()

    async def start(self, core: Core, previous: Module | None) -> None:
        for index, route in enumerate(self.settings.routes):
            if route.similarity == "embedder":
                raise StockyardError(
                    "invalid_value",
                    "multicall: the bundled embedder is not part of this version; prose is compared by its words "
                    "(similarity: lexical).",
                    param=f"config.routes.{index}.similarity",
                )
        self._core = core
        self._clock = core.clock
        self._router: Router = core.services["router"]
        if self.settings.routes:
            core.services["multicall"] = self
        elif isinstance(core.services.get("multicall"), MultiCall):
            del core.services["multicall"]

    async def stop(self) -> None:
        if self._core is not None and self._core.services.get("multicall") is self:
            del self._core.services["multicall"]

    def asked(self, x: Exchange) -> list[Target]:
        """The targets that the call would be sent to, the judge's among them; none when it takes no route. Never raises:
        budgets ask it what they have to reserve for."""
        try:
            route = self._route(x)
            if route is None:
                return []
            targets = self._targets(x, route)
            if route.strategy in ("judge", "merge"):
                targets.append(self.resolve(route.judge_model or route.targets[0]))
        except StockyardError:
            return []
        return targets

    async def around(self, x: Exchange, call: Call) -> Answer:
        route = self._route(x)
        if route is None:
            return await call(x)
        targets = self._targets(x, route)
        return await _Round(self, x, call, route, targets).answer()

    def _route(self, x: Exchange) -> MultiRoute | None:
        asked = next((x.headers[name].decode("latin-1") for name in HEADERS if name in x.headers), "")
        model = x.model_requested
        if asked:
            param = "X-Stockyard-Route"
        elif model.startswith(PREFIX):
            asked, param = model[len(PREFIX) :], "model"
        else:
            return next((route for route in self._by_glob if fnmatchcase(model, route.match)), None)
        route = self._by_name.get(asked)
        if route is None:
            names = ", ".join(self._by_name)
            raise StockyardError(
                "model_not_found" if param == "model" else "bad_request",
                f"There is no multicall route {asked!r}; there are {names}.",
                param=param,
                module=self.name,
            )
        return route

    def _targets(self, x: Exchange, route: MultiRoute) -> list[Target]:
        """The route's targets that this call may use. Raises the last one's reason when there is none."""
        found: list[Target] = []
        error = StockyardError("no_provider", f"No target of the route {route.name!r} is permitted.", module=self.name)
        for label in route.targets[: self.settings.max_targets]:
            try:
                target = self.resolve(label)
            except StockyardError as refused:
                error = refused
                continue
            if self._router.may_choose(x, target):
                found.append(target)
        if not found:
            raise error
        return found

    def resolve(self, label: str) -> Target:
        """The target of a model's name. Raises `StockyardError`."""
        assert self._core is not None
        targets: list[Target] = self._core.services["providers"].resolve(label)
        return targets[0]

    @property
    def price(self) -> Callable[[Any], None] | None:
        """What adds the cost lines of a branch."""
        return self._core.services.get("price") if self._core is not None else None

    @property
    def random(self) -> Random:
        return self._random

    @property
    def clock(self) -> Clock:
        return self._clock


class _Round:
    """One call that several targets are asked for."""

    def __init__(self, module: MultiCall, x: Exchange, call: Call, route: MultiRoute, targets: list[Target]) -> None:
        self._module = module
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
        await ask_all(
            self._contenders,
            self._call,
            needed=needed,
            wait_s=route.wait_s,
            timeout_s=module.settings.timeout_s,
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
            return Answer(headers=answer.headers, events=replay(answer.obj, module.clock, 0), target=answer.target)
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
            found = verdict([contender.text for contender in good])
            winner = good[found.place]
            detail = {"agreement": round(found.agreement, 2), "by": found.by}
            if found.by == "similarity":
                detail["similarity"] = "lexical"
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
            said = await self._sub_request(branch, "judge")
            index = picked(text_of(said), len(order)) if said is not None else None
        if index is None:
            detail["no_judgement"] = True
        winner = good[0] if index is None else order[index]
        assert winner.answer is not None
        return winner.answer, winner, detail

    async def _merged(self, good: list[Contender]) -> tuple[Answer, Contender, dict[str, Any]]:
        """One answer written from all; without it the longest."""
        judge = self._judge()
        said = None
        if judge is not None:
            branch = merge_request(self._x, [judge], [contender.text for contender in good])
            said = await self._sub_request(branch, "merge")
        longest = max(good, key=lambda one: len(one.text))
        assert longest.answer is not None
        if judge is None or said is None or not text_of(said).strip():
            return longest.answer, longest, {"not_merged": True}
        said.native = "openai.chat"
        said.body = orjson.dumps(said.obj)
        return said, longest, {"merged_by": judge.label}

    def _judge(self) -> Target | None:
        """Who judges or merges: the route's own choice, which policies on targets may forbid."""
        try:
            target = self._module.resolve(self._route.judge_model or self._route.targets[0])
        except StockyardError as error:
            self._x.note("sub_request_failed", {"error": error.message[:300]}, module=self._module.name)
            return None
        return target if all(allows(target) for allows in self._x.allow) else None

    async def _sub_request(self, branch: Exchange, what: str) -> Answer | None:
        """A priced call of our own; `None` when it failed, which the trail says."""
        x = self._x
        try:
            answer: Answer | None = await self._call(branch)
        except (CallFailed, StockyardError) as failure:
            answer = None
            x.note("sub_request_failed", {"what": what, "error": str(failure)[:300]}, module=self._module.name)
        contender = Contender(branch.targets[0], branch)
        contender.answer = answer
        settle(contender, self._module.price)
        branch.cost_lines = [(f"{self._module.name}:{what}:{line}", nano) for line, nano in branch.cost_lines]
        x.absorb(branch, served=False)
        return answer

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
            else:
                branch.cost_lines = []
                x.state.update(branch.state)
                branch.state = x.state
            x.absorb(branch, served=not lost)
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
        reasons = {contender.label: contender.reason() for contender in self._contenders}
        said = "; ".join(f"{label}: {reason}" for label, reason in reasons.items())
        return StockyardError(
            "all_targets_failed",
            f"None of the {len(reasons)} targets gave an acceptable answer: {said}",
            details=reasons,
            module=self._module.name,
        )


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
