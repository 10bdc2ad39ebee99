"""hallucicheck: marks statements of answers that look made up. It reports doubt; it does not claim truth."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from pydantic import Field

from instance.chute.answer import Answer, Delta
from instance.chute.delta_text import first_choice
from instance.chute.embedding.embedder import Embedder, embedder_of
from instance.chute.embedding.late import EmbedderLate, is_late, note_late, require_open
from instance.chute.exchange import Exchange
from instance.chute.module import Call, Module, ModuleSettings
from instance.chute.modules.safety.checkable_facts import FACT, MORE, Doubt, fact_look, named_addresses
from instance.chute.modules.safety.checked_answer import CheckedAnswer, Finding
from instance.chute.modules.safety.checked_sentences import contents, is_content
from instance.chute.modules.safety.doubt_notes import notes, with_note
from instance.chute.modules.safety.grounding import MARK_BEGINS, Given, every_text, given_texts, short_texts
from instance.chute.modules.safety.live_addresses import LiveAddresses
from instance.chute.modules.safety.other_answers import disagreeing
from instance.chute.sub_request import SubRequestFailed
from instance.chute.text import request_texts, rewrite_answer
from instance.core.errors import StockyardError
from instance.core.instance_file import may_call_private_networks

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from instance.core.core import Core

TEXT_MAX_CHARS = 100_000
"""What of an answer is checked."""
BUFFER_MAX_BYTES = 4 << 20
"""A stream that is buffered to be checked is let through unchecked from here on, and the trail says so."""

HEADER = b"x-stockyard-grounding"
_GOOD = (HEADER, b"1.00")
_NO_FINDINGS: list[Finding] = []

Check = Literal["grounding", "url", "email", "citation", "number", "arithmetic"]


class HalluciCheck(Module):
    """Compares statements with what the prompt gives as reference, and checks facts that can be checked without one.

    Reference is what tools answered, passages marked as context, documents or sources, and long texts that state things. Support
    is the cosine to the nearest reference sentence, lowered when the statement's numbers or names occur nowhere in the reference.
    The score of an answer is the share of its statements without doubt. Where the embedder has no time an answer is checked by its
    facts alone, and has no score.
    """

    name: ClassVar[str] = "hallucicheck"
    category: ClassVar[str] = "safety"
    group: ClassVar[int] = 5
    summary: ClassVar[str] = "Marks statements of answers that look made up"
    rejects: ClassVar[tuple[str, ...]] = ("unsupported_answer",)

    class Settings(ModuleSettings):
        min_support: float = Field(
            default=0.45, ge=0, le=1, description="Least support (cosine) of a statement by the reference."
        )
        checks: list[Check] = Field(
            default=["grounding", "url", "email", "citation", "number", "arithmetic"],
            max_length=10,
            description="What is checked; number: a statement's numbers must stand in the reference.",
        )
        check_live: bool = Field(
            default=False,
            description="Ask addresses whether they are there (HEAD, kept for a day), and look domains up.",
        )
        self_check: bool = Field(
            default=False, description="Ask the same question again and compare; each sample is paid for."
        )
        samples: int = Field(default=2, ge=1, le=5, description="Answers that self_check asks for.")
        action: Literal["flag", "annotate", "block"] = Field(
            default="flag",
            description="flag notes doubts, annotate adds notes at the answer's end, block refuses the answer (unsupported_answer).",
        )
        block_below: float = Field(
            default=0.5, ge=0, le=1, description="Share of statements without doubt under which block refuses."
        )

    settings: Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._checks: frozenset[str] = frozenset(settings.checks)
        self._embeds = "grounding" in self._checks or settings.self_check
        self._rests = bool(self._checks & {"grounding", "citation"})
        self._facts_of = fact_look(self._checks)
        self._may_matter = fact_look(self._checks, MARK_BEGINS)
        """Looks for facts and for what marks material, over an answer and the short texts of its prompt in one."""
        self._asks_again = settings.self_check
        self._min_support = settings.min_support
        self._action = settings.action
        self._core: Core
        self._embedder: Embedder | None = None
        self._live: LiveAddresses | None = None

    async def start(self, core: Core, previous: Module | None) -> None:
        self._core = core
        if self._embeds:
            self._embedder = embedder_of(core)
            await self._embedder.load()
        if self.settings.check_live:
            self._live = LiveAddresses(core.clock, allow_private_networks=may_call_private_networks(core.hosted))

    async def stop(self) -> None:
        if self._live is not None:
            await self._live.close()

    def hooks(self) -> tuple[str, ...]:
        return ("around",) if self._checks or self.settings.self_check else ()

    async def around(self, x: Exchange, call: Call) -> Answer:
        answer = await call(x)
        if answer.status != 200:
            return answer
        if answer.events is not None:
            watch = self._held if self._action == "block" else self._followed
            answer.events = watch(x, answer.events)
            return answer
        obj = answer.obj
        texts = contents(obj) if obj is not None else None
        if not texts:
            return answer
        text = texts[0] if len(texts) == 1 else "\n\n".join(texts)
        check = self._to_check(x, text)
        if check is None:
            x.response_headers.append(_GOOD)
            return answer
        score, findings = await self._checked(x, check)
        if not is_late(x, self):
            x.response_headers.append((HEADER, b"%.2f" % score))
        if self._blocks(score, findings):
            raise self._unsupported(findings)
        if self._action == "annotate" and findings:
            note, first = notes(findings), texts[0]
            answer.obj = rewrite_answer(
                obj or {}, lambda text, place: text + note if is_content(place) and text is first else text
            )
            answer.changed = True
        return answer

    # --- streams ----------------------------------------------------------------------------------------------------

    async def _followed(self, x: Exchange, source: AsyncIterator[list[Delta]]) -> AsyncIterator[list[Delta]]:
        """The stream as it comes; at its end it is checked, and notes are put before its last event."""
        text: list[str] = []
        size = 0
        checked = False
        async with aclosing(cast("AsyncGenerator[list[Delta], None]", source)) as events:
            async for batch in events:
                ends = False
                for delta in batch:
                    piece, finished = first_choice(delta)
                    if piece and size < TEXT_MAX_CHARS:
                        text.append(piece)
                        size += len(piece)
                    ends = ends or finished
                if ends and not checked and text:
                    checked = True
                    _, findings = await self._check(x, "".join(text))
                    if findings and self.settings.action == "annotate":
                        yield with_note(batch, notes(findings))
                        continue
                yield batch

    async def _held(self, x: Exchange, source: AsyncIterator[list[Delta]]) -> AsyncIterator[list[Delta]]:
        """The stream once it is whole and was checked."""
        held: list[Delta] = []
        size = 0
        async with aclosing(cast("AsyncGenerator[list[Delta], None]", source)) as events:
            async for batch in events:
                held += batch
                size += sum(len(delta.raw) for delta in batch)
                if size > BUFFER_MAX_BYTES:
                    x.note("unchecked", {"bytes": size}, module=self.name, hook="around")
                    yield held
                    async for rest in events:
                        yield rest
                    return
        text = "".join([first_choice(delta)[0] for delta in held])
        if text:
            score, findings = await self._check(x, text)
            if self._blocks(score, findings):
                raise self._unsupported(findings)
        yield held

    # --- checks -----------------------------------------------------------------------------------------------------

    def _to_check(self, x: Exchange, text: str) -> CheckedAnswer | None:
        """What there is to check of an answer's text; `None`, and noted, when one look says that nothing can be in doubt."""
        if len(text) > TEXT_MAX_CHARS:
            text = text[:TEXT_MAX_CHARS]
        given: list[Given] = []
        short = short_texts(x.req) if self._rests else []
        if short is None:
            given, facts = every_text(x.req), self._facts_of(text)
        else:
            facts = self._may_matter("\n".join((*short, text)))
            if facts:  # of whichever of the texts
                given = given_texts(x.req) if MORE in facts and self._rests else []
                facts = self._facts_of(text)
        has_facts = facts and (given or FACT in facts)
        if not has_facts and not self._asks_again and not (given and self._embedder is not None):
            measures = x.measures
            if measures is None:
                measures = x.measures = {}
            measures["grounding"] = 1.0
            return None
        prompt = request_texts(x.req) if has_facts else []
        return CheckedAnswer(text, given, prompt, self._checks, self._min_support)

    async def _check(self, x: Exchange, text: str) -> tuple[float, list[Finding]]:
        check = self._to_check(x, text)
        return (1.0, _NO_FINDINGS) if check is None else await self._checked(x, check)

    async def _checked(self, x: Exchange, check: CheckedAnswer) -> tuple[float, list[Finding]]:
        """The share of statements without doubt (1 when there are none), and those in doubt, in order; both are noted."""
        began = self._core.clock.mono_ns()
        waited = x.waited_ns
        if check.given and self._embedder is not None:
            try:
                await self._embedder.run(check.read, check.judge, x)
            except EmbedderLate as late:
                if self._checks == {"grounding"}:
                    require_open(x, self, late)
                note_late(x, self, late, "facts")
                check = await asyncio.to_thread(check.by_facts)
        else:
            check.read()
            check.judge(None)
        if self._live is not None:
            await self._add_gone(check)
        if self._asks_again and check.statements and not x.dry:
            for start, sentence, support in await self._disagreeing(x, check.statements):
                check.add_disagreeing(start, sentence, support)
        x.waited_ns += max(0, self._core.clock.mono_ns() - began - (x.waited_ns - waited))
        score, findings, entries = check.result()
        if not is_late(x, self):
            x.measure(grounding=round(score, 4))
        for entry in entries:
            x.note("unsupported", entry, module=self.name, hook="around")
        return score, findings

    async def _add_gone(self, check: CheckedAnswer) -> None:
        """Put those addresses in doubt that could be, and do not answer."""
        assert self._live is not None
        for start, address in named_addresses(check.text, self._checks):
            if start not in check.doubted and not await self._live.alive(address):
                check.add(Doubt(start, start + len(address), "gone"))

    async def _disagreeing(self, x: Exchange, statements: Sequence[tuple[int, str]]) -> list[tuple[int, str, float]]:
        """Statements that other answers to the same question do not make, with their mean support."""
        assert self._embedder is not None
        asking: Any = self._core.services["sub_requests"]
        messages = x.req.get("messages") or [{"role": "user", "content": str(x.req.get("prompt") or "")}]

        async def sample() -> str:
            try:
                return str((await asking.ask(x, self.name, "sample", messages, temperature=1)).text)
            except SubRequestFailed:
                return ""

        samples = [text for text in await asyncio.gather(*(sample() for _ in range(self.settings.samples))) if text]
        try:
            return await disagreeing(self._embedder, statements, samples, self._min_support, x)
        except EmbedderLate as late:
            note_late(x, self, late, "facts")
            return []

    def _blocks(self, score: float, findings: Sequence[Finding]) -> bool:
        return self._action == "block" and bool(findings) and score < self.settings.block_below

    def _unsupported(self, findings: Sequence[Finding]) -> StockyardError:
        return StockyardError(
            "unsupported_answer",
            f"{len(findings)} statement(s) of the answer are not supported.",
            details=[
                {"sentence": each.sentence.strip()[:500], "support": round(each.support, 3), "why": each.why}
                for each in findings[:20]
            ],
            module=self.name,
            retryable=False,
        )
