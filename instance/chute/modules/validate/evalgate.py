"""evalgate: scores answers, and asks again when one is not good enough."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from instance.chute.answer import JSON, Answer, Delta
from instance.chute.asked_again import Asked, AskedAgain, before_attempt
from instance.chute.delta_text import first_choice
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed
from instance.chute.module import Call, Module, ModuleSettings
from instance.chute.modules.validate.answer_checks import Check, Said
from instance.chute.modules.validate.answer_judge import AnswerJudge
from instance.chute.modules.validate.answer_score import PASSED, Score, Scores, said_in
from instance.chute.record import estimate_usage
from instance.chute.sub_request import SERVICE, SubRequestFailed
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.sub_request import SubRequests
    from instance.chute.targets import Target
    from instance.core.core import Core

HEADER = b"x-stockyard-eval-score"
STREAMED_MAX_CHARS = 1_000_000
_FULL = (HEADER, b"1.0")


class EvalGate(Module):
    """Checks each answer; the score is the weighted share of the checks that it passed, a judge counting a tenth of its score.

    An answer that fails a check with action retry, and whose score is below `pass_score`, is asked for again with what was
    wrong, up to `max_retries` times and `max_extra_usd`; the best one is delivered.
    """

    name: ClassVar[str] = "evalgate"
    category: ClassVar[str] = "validate"
    group: ClassVar[int] = 10
    summary: ClassVar[str] = "Scores answers, and asks again when one is not good enough"
    rejects: ClassVar[tuple[str, ...]] = ("quality_rejected",)
    kinds: ClassVar[frozenset[str]] = frozenset(("chat",))
    per_client: ClassVar[bool] = True

    class Settings(ModuleSettings):
        checks: list[Check] = Field(
            default=[Check(type="not_empty")], max_length=50, description="What answers are checked for."
        )
        pass_score: float = Field(default=1.0, ge=0, le=1, description="Score from which an answer is good enough.")
        max_retries: int = Field(default=1, ge=0, le=10, description="How often the same is asked again.")
        retry_model: str = Field(default="", max_length=256, description="Who is asked again; empty: the same model.")
        feedback: bool = Field(default=True, description="Say what was wrong when asking again.")
        judge_model: str = Field(default="", max_length=256, description="Who judges; empty: the model that answered.")
        judge_sample_pct: float = Field(default=100.0, ge=0, le=100, description="Share of calls that are judged.")
        max_extra_usd: float = Field(
            default=0.05, ge=0, le=1_000, description="Most that further attempts and judges may cost, for one call."
        )

    settings: Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._acts = any(check.action != "flag" for check in settings.checks)
        self._scores = Scores(settings.checks)
        self._is_plain = self._scores.is_plain
        self._core: Core
        self._ask: SubRequests

    def hooks(self) -> tuple[str, ...]:
        return ("around",) if self.settings.checks else ()

    async def start(self, core: Core, previous: Module | None) -> None:
        self._core = core
        self._ask = core.services[SERVICE]
        own = self.settings
        await self._scores.start(core, AnswerJudge(self._ask, self.name, own.judge_model, own.judge_sample_pct))

    async def around(self, x: Exchange, call: Call) -> Answer:
        if not self._acts:
            if not x.stream:
                return await self._flagged(x, call)
            answer = await call(x)
            if answer.events is not None:
                answer.events = self._watched(x, answer.events)
            return answer
        if x.stream:
            again = self._asked_again(x, call)
            return await again.soon(lambda: self._until_good(x, again))
        # What judging costs is to stay apart from what the attempt does.
        before = before_attempt(x) if self._is_plain else None
        if before is None:
            return await self._until_good(x, self._asked_again(x, call))
        answer = await call(x)
        said = said_in(answer)
        if said is None:
            return answer
        score = self._scores.plain(said)
        if score is PASSED:
            self._note(x, 1, score)
            self._deliver(x, score)
            return answer
        again = self._asked_again(x, call)
        return await self._until_good(x, again, (again.took(before, answer), score))

    def _asked_again(self, x: Exchange, call: Call) -> AskedAgain:
        return AskedAgain(x, call, self.name, self._core.services.get("price"), self._core.clock)

    async def _flagged(self, x: Exchange, call: Call) -> Answer:
        """The answer as it is, scored: no check asks again or refuses it."""
        answer = await call(x)
        said = said_in(answer)
        if said is not None:
            score = self._scores.plain(said) if self._is_plain else (await self._scores.of(x, said))[0]
            self._note(x, 1, score)
            self._deliver(x, score)
        return answer

    async def _until_good(self, x: Exchange, again: AskedAgain, first: tuple[Asked, Score] | None = None) -> Answer:
        """The best answer of as many attempts as are needed and allowed; `first` was made already, and judging it cost nothing."""
        own = self.settings
        spent = 0
        req, targets = x.req, None
        best: tuple[Asked, Score] | None = None
        for number in range(own.max_retries + 1):
            if first is not None and not number:
                asked, score = first
                judged_nano = 0
            else:
                try:
                    asked = await again.ask(req if number else None, targets)
                except (CallFailed, StockyardError):
                    if best is None:
                        raise
                    break
                said = said_in(asked.answer)
                if said is None:
                    return again.deliver(asked)
                score, judged_nano = await self._scores.of(x, said)
            self._note(x, number + 1, score)
            spent += judged_nano
            if best is None or score.rank() > best[1].rank():
                best = (asked, score)
            if score is PASSED:
                break
            if score.value >= own.pass_score or not score.with_action("retry"):
                break
            if number < own.max_retries:
                cost = self._cost(asked)
                spent += cost if number else 0
                if (spent + cost) / 1e9 > own.max_extra_usd:
                    x.note("stopped", {"why": "max_extra_usd"}, module=self.name)
                    break
                req, targets = self._next(x, asked, score)
        assert best is not None
        asked, score = best
        refused = score.with_action("reject") if score.failed else ()
        if refused:
            again.give_up()
            raise StockyardError(
                "quality_rejected",
                f"The answer was not good enough: {'; '.join(text for _, text in refused)}.",
                details={
                    "score": round(score.value, 4),
                    "failed": [{"type": check.type, "why": text} for check, text in refused],
                },
                module=self.name,
                retryable=False,
            )
        answer = again.deliver(asked)
        self._deliver(x, score)
        return answer

    async def _watched(self, x: Exchange, events: AsyncIterator[list[Delta]]) -> AsyncIterator[list[Delta]]:
        """A stream that is passed through, and scored before its last event."""
        texts: list[str] = []
        size = 0
        done = False
        async for batch in events:
            for delta in batch:
                text, finished = first_choice(delta)
                if text:
                    size += len(text)
                    if size <= STREAMED_MAX_CHARS:
                        texts.append(text)
                if finished and not done:
                    done = True
                    finish = next(
                        (c.get("finish_reason") for c in (delta.obj or {})["choices"] if not c.get("index")), ""
                    )
                    if finish != "tool_calls":
                        score, _ = await self._scores.of(x, Said("".join(texts), str(finish or "")))
                        self._note(x, 1, score)
                        self._scored(x, score.value)
            yield batch

    def _next(self, x: Exchange, asked: Asked, score: Score) -> tuple[JSON, list[Target] | None]:
        """The request of the next attempt, and to whom it goes."""
        own = self.settings
        req = x.req
        if own.feedback:
            wrong = "\n".join(f"- {text}" for _, text in score.failed)
            note = f"The previous answer failed:\n{wrong}\nAnswer the question again, in full, without these faults."
            messages = [*(req.get("messages") or ()), {"role": "assistant", "content": asked.text or "(no answer)"}]
            req = {**req, "messages": [*messages, {"role": "user", "content": note}]}
        if not own.retry_model:
            return req, None
        try:
            return req, [self._ask.target(x, own.retry_model)]
        except SubRequestFailed as problem:
            x.note("retry_model_unavailable", {"why": str(problem)}, module=self.name)
            return req, None

    def _cost(self, asked: Asked) -> int:
        """What an attempt cost, in nano-dollars; 0 where that is not known."""
        branch = asked.branch
        price = self._core.services.get("price")
        if price is None:
            return 0
        estimate_usage(branch)
        lines, unknown = branch.cost_lines, branch.cost_unknown
        branch.cost_lines = []
        price(branch)
        nano = branch.cost_nano
        branch.cost_lines, branch.cost_unknown = lines, unknown
        return nano

    def _note(self, x: Exchange, number: int, score: Score) -> None:
        if score is PASSED:
            x.note("score", {"n": number, "score": 1.0, "failed": []}, module=self.name)
            return
        failed = [check.type for check, _ in score.failed]
        x.note("score", {"n": number, "score": round(score.value, 4), "failed": failed}, module=self.name)

    def _deliver(self, x: Exchange, score: Score) -> None:
        value = score.value
        self._scored(x, value)
        x.response_headers.append(_FULL if value >= 1 else (HEADER, b"%.4g" % value))

    def _scored(self, x: Exchange, value: float) -> None:
        x.state["eval_score"] = value
        measures = x.measures
        if measures is None:
            measures = x.measures = {}
        measures["eval_score"] = round(value, 4)
