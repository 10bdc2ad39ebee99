"""toxicfilter: moderates questions and answers by category of harm."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from instance.chute.answer import Answer
from instance.chute.embedding.embedder import embedder_of
from instance.chute.embedding.late import EmbedderLate, note_late
from instance.chute.exchange import Exchange
from instance.chute.module import Call, Module, ModuleSettings
from instance.chute.modules.safety.checked_sentences import check_answer
from instance.chute.modules.safety.first_look import FirstLook, first_look_of, is_silent
from instance.chute.modules.safety.harm_actions import (
    Category,
    CategoryRule,
    CustomRule,
    Example,
    HarmActions,
    strongest,
)
from instance.chute.modules.safety.judged_texts import JudgedText, Judging
from instance.chute.modules.safety.made_answer import put_before
from instance.chute.modules.safety.moderation_endpoint import ASK_FROM, ModerationEndpoint
from instance.chute.modules.safety.new_texts import new_texts
from instance.chute.modules.safety.seen_text import LearnedLooker
from instance.chute.modules.safety.toxic_rules import LANGUAGES
from instance.chute.modules.safety.toxicity import Learned, Toxicity
from instance.chute.stream_gate import EndAnswer
from instance.chute.text import rewrite_request
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.modules.safety.classifier import Classifier
    from instance.core.core import Core


class ToxicFilter(Module):
    """Scores each new text of a request and each sentence of an answer, and acts on what reaches its category's threshold.

    Rules over the text's plain form, then what was learned from labelled examples: every text of a request, and of answers
    what is on a topic that can be harmful; then a provider's moderation endpoint, where one is named. `sexual/minors` is always refused.
    """

    name: ClassVar[str] = "toxicfilter"
    category: ClassVar[str] = "safety"
    group: ClassVar[int] = 5
    summary: ClassVar[str] = "Moderates questions and answers by category of harm"
    rejects: ClassVar[tuple[str, ...]] = ("content_blocked", "answer_blocked")
    on_error: ClassVar[Literal["open", "closed"]] = "closed"
    safety: ClassVar[bool] = True
    per_client: ClassVar[bool] = True

    class Settings(ModuleSettings):
        categories: dict[Category, CategoryRule] = Field(
            default={},
            description="Category -> threshold and action. Those not named: sexual/minors and illicit block, self_harm help, profanity off, others flag.",
        )
        scan_input: bool = Field(default=True, description="Judge requests.")
        scan_output: bool = Field(default=True, description="Judge answers.")
        languages: list[Literal["en", "de", "es", "fr"]] = Field(
            default=["en"], max_length=10, description="Languages of the rules."
        )
        use_examples: bool = Field(
            default=True, description="Also compare with labelled examples, by the bundled embedder (extra `semantic`)."
        )
        judge_all: bool = Field(
            default=True,
            description="Compare every new text of a request, not only what a rule or a topic points to: finds what is said in plain words; calls wait some 5 ms for it. Sentences of answers are compared where they are on a topic.",
        )
        examples: list[Example] = Field(default=[], max_length=500, description="Labelled examples of your own.")
        moderation_target: str = Field(
            default="",
            max_length=200,
            description="Model of a moderation endpoint (`provider/model`) that is asked too; empty: none.",
        )
        help_text: str = Field(
            default="If you are thinking about hurting yourself, please talk to someone now: your local emergency number, or a helpline from findahelpline.com. You do not have to go through this alone.",
            min_length=1,
            max_length=2000,
            description="What stands before the answer to a person in need (action help).",
        )
        output_block: Literal["replace", "reject"] = Field(
            default="replace",
            description="An answer that is blocked becomes refusal_text, or the call fails (answer_blocked).",
        )
        refusal_text: str = Field(
            default="This answer was withheld because of its content.",
            min_length=1,
            max_length=2000,
            description="What a blocked answer becomes.",
        )
        redact_text: str = Field(default="", max_length=200, description="What stands for a redacted sentence.")
        custom: list[CustomRule] = Field(default=[], max_length=100, description="Rules of your own.")

        @field_validator("categories")
        @classmethod
        def _minors_are_protected(cls, given: dict[str, CategoryRule]) -> dict[str, CategoryRule]:
            rule = given.get("sexual/minors")
            if rule is not None and (rule.action != "block" or rule.threshold > 0.7):
                raise ValueError("sexual/minors is always blocked, from 0.7 or less")
            return given

        @field_validator("languages")
        @classmethod
        def _known(cls, languages: list[str]) -> list[str]:
            return [language for language in LANGUAGES if language in languages]

    settings: Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._actions = HarmActions(settings.categories, settings.custom)
        self._toxicity = Toxicity(settings.languages)
        # What an endpoint says comes first.
        self._names = self._actions.named if self._actions.custom and not settings.moderation_target else None
        self._own = tuple(rule.re2 for rule in settings.custom)
        self._scans_output = settings.scan_output
        self._asks = bool(settings.moderation_target)
        self._endpoint: ModerationEndpoint
        self._learned: Learned | None = None
        self._judges_all = False
        self._first_look: FirstLook
        self.looker: LearnedLooker | None = None
        self._core: Core | None = None
        if settings.on_error is None and self._actions.only_flag:
            self.on_error = "open"  # type: ignore[misc]  # what only flags never refuses a call

    async def start(self, core: Core, previous: Module | None) -> None:
        self._core = core
        if self._asks:
            self._endpoint = ModerationEndpoint(core, self.name, self.settings.moderation_target)
        if self.settings.use_examples:
            embedder = embedder_of(core)
            await embedder.load()
            self._learned = Learned(embedder, [(each.category, each.text) for each in self.settings.examples])
            self._judges_all = self.settings.judge_all
            if self._judges_all and not (self._asks or self._actions.custom or self.settings.examples):
                self._first_look = first_look_of(core, embedder)
                self.looker = self._looker(self._learned.classifier)

    def hooks(self) -> tuple[str, ...]:
        return (
            *(("prepare",) if self.settings.scan_input else ()),
            *(("around",) if self.settings.scan_output or self.settings.scan_input else ()),
        )

    def patterns(self) -> Sequence[str]:
        return (*self._toxicity.triggers, *self._own)

    def passes(self, x: Exchange) -> bool:
        return not self._scans_output and "toxic_help" not in x.state

    # --- requests ---------------------------------------------------------------------------------------------------

    def _looker(self, classifier: Classifier) -> LearnedLooker:
        least = self._actions.least(classifier.names)
        return LearnedLooker(
            classifier,
            classifier.share_of(least),
            lambda x: not x.hits(self),
            has_more=lambda seen: self._toxicity.is_disguised(seen.text),
        )

    def prepare(self, x: Exchange) -> Coroutine[Any, Any, Answer | None] | None:
        if not self._judges_all and not self._asks and not x.hits(self):
            return None
        texts = new_texts(x.req)
        if not texts:
            return None
        if self.looker is not None and is_silent(x, self.looker, texts):
            return None
        return self._judge_request(x, texts)

    async def _judge_request(self, x: Exchange, texts: list[str]) -> Answer | None:
        learned = self._learned
        try:
            if self.looker is not None and await self._first_look.finds_nothing(x, self.looker, texts):
                return None
        except EmbedderLate as late:
            note_late(x, self, late, "rules", hook="prepare")
            learned = None
        judging = Judging(
            self._toxicity,
            texts,
            self._names,
            None if self._asks else self._actions.reaches,
            judge_all=self._judges_all,
            has_hits=bool(x.hits(self)),
        )
        judging = await self._judge(x, judging, learned, hook="prepare")
        if not judging.found:
            return None
        redacted: dict[str, str] = {}
        for judged in judging.found:
            if self._asks:
                await self._ask_about(x, judged, every=True)
            acts = [self._act(x, scores, "in") for scores in judged.scores]
            sentences = judged.pieces
            if judged.whole and not any(acts):
                acts.append(self._act(x, judged.whole[0], "in"))
            blocked = next((act for act in acts if act and act[0] == "block"), None)
            if blocked:
                raise StockyardError(
                    "content_blocked",
                    f"The request holds content of a category that is refused here ({blocked[1]}).",
                    details={"category": blocked[1]},
                    retryable=False,
                )
            if any(act and act[0] == "help" for act in acts):
                x.state["toxic_help"] = True
            if any(act and act[0] == "redact" for act in acts):
                as_whole = len(acts) > len(sentences)
                redacted[judged.text] = self.settings.redact_text if as_whole else self._without(sentences, acts)
        if redacted:
            x.req = rewrite_request(x.req, lambda text, place: redacted.get(text, text))
            x.change()
        return None

    # --- answers ----------------------------------------------------------------------------------------------------

    async def around(self, x: Exchange, call: Call) -> Answer:
        answer = await call(x)
        if (
            self._scans_output
            and answer.status == 200
            # A rule of the user's own may hold in a sentence alone.
            and (answer.events is not None or self._actions.custom or x.answer_may_hold(self, answer))
        ):

            async def check(sentences: Sequence[str]) -> Sequence[str]:
                if not self._suspects(sentences):
                    return sentences
                judged = await self._judge_answer(x, sentences)
                acts = [self._act(x, scores, "out") for scores in judged.scores]
                blocked = next((act for act in acts if act and act[0] == "block"), None)
                if blocked:
                    if self.settings.output_block == "reject":
                        raise StockyardError(
                            "answer_blocked",
                            f"The answer holds content of a category that is refused here ({blocked[1]}).",
                            details={"category": blocked[1]},
                            module=self.name,
                            retryable=False,
                        )
                    raise EndAnswer(self.settings.refusal_text)
                return self._redacted(sentences, acts)

            await check_answer(answer, check)
        if "toxic_help" in x.state and x.state.pop("toxic_help") and not _wants_json(x.req):
            put_before(answer, self.settings.help_text + "\n\n")
        return answer

    def _suspects(self, sentences: Sequence[str]) -> bool:
        return self._toxicity.suspects("".join(sentences)) or any(
            expression.search(sentence) for _, expression, _ in self._actions.custom for sentence in sentences
        )

    # --- judging ----------------------------------------------------------------------------------------------------

    async def _judge_answer(self, x: Exchange, sentences: Sequence[str]) -> JudgedText:
        judging = Judging(self._toxicity, sentences, self._names, of_answer=True)
        learned = self._learned if any(map(self._toxicity.on_topic, sentences)) else None
        judging = await self._judge(x, judging, learned)
        (judged,) = judging.found
        if self._asks:
            await self._ask_about(x, judged, every=False)
        return judged

    async def _judge(self, x: Exchange, judging: Judging, learned: Learned | None, *, hook: str = "around") -> Judging:
        """The judging, done: all of it on the embedder's thread, where something may have to be compared with what was learned; by the rules alone where
        that has no time."""
        if learned is None or self._core is None:
            judging.read()
            judging.judge(())
            return judging
        mono_ns = self._core.clock.mono_ns
        began = mono_ns()
        try:
            await learned.run(judging.read, judging.judge, x)
        except EmbedderLate as late:
            note_late(x, self, late, "rules", hook=hook)
            return await asyncio.to_thread(judging.by_rules)
        x.waited_ns += mono_ns() - began
        return judging

    async def _ask_about(self, x: Exchange, judged: JudgedText, *, every: bool) -> None:
        """Add what the moderation endpoint says, of what is doubtful or of every piece, and the custom rules."""
        doubtful = [(text, scores, every) for text, scores in zip(judged.pieces, judged.scores, strict=True)]
        doubtful += [(judged.text, scores, False) for scores in judged.whole]
        for text, scores, always in doubtful:
            if not x.dry and (always or max(scores.values(), default=0.0) >= ASK_FROM):
                for name, score in (await self._endpoint.scores(x, text)).items():
                    scores[name] = max(scores.get(name, 0.0), score)
            scores.update(self._actions.named(text))

    def _act(self, x: Exchange, scores: dict[str, float], direction: str) -> tuple[str, str] | None:
        """Note each category that reached its threshold; the strongest action with its category."""
        reached = self._actions.reached(scores)
        for name, score, action in reached:
            x.note(
                "toxic",
                {"direction": direction, "category": name, "score": round(score, 3), "action": action},
                module=self.name,
                hook="around" if direction == "out" else "prepare",
            )
            x.safety_count += direction == "out"
        return strongest(reached)

    def _redacted(self, sentences: Sequence[str], acts: Sequence[tuple[str, str] | None]) -> list[str]:
        return [
            self.settings.redact_text if act and act[0] == "redact" else sentence
            for sentence, act in zip(sentences, acts, strict=True)
        ]

    def _without(self, sentences: Sequence[str], acts: Sequence[tuple[str, str] | None]) -> str:
        return "".join(self._redacted(sentences, acts))


def _wants_json(req: dict[str, Any]) -> bool:
    form = req.get("response_format")
    return type(form) is dict and form.get("type") in ("json_object", "json_schema")
