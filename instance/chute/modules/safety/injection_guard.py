"""Injection in a request: its texts scored by the rules and by what was learned, and what is done about one that scores high."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from instance.chute.answer import Answer
from instance.chute.exchange import Exchange
from instance.chute.modules.safety.first_look import first_look_of
from instance.chute.modules.safety.injection import Rules, may_order
from instance.chute.modules.safety.learned_injection import DOUBTFUL, WINDOW_MAX_CHARS, LearnedInjection
from instance.chute.modules.safety.seen_text import LearnedLooker
from instance.chute.modules.safety.texts_by_role import role_at
from instance.chute.text import request_texts, rewrite_request
from instance.chute.text_memory import TextMemory
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.embedding.embedder import Embedder
    from instance.core.core import Core

OTHER_COUNTS = 0.4
"""Share of the lower of the two scores, of rules and learned, that is added to the higher one."""
ALONE_COUNTS = 0.65
"""Share of the rules' score that is left where what was learned leaves no doubt that a text is harmless."""
HARMLESS_BELOW = 1.0
"""Learned points below which it leaves none."""
LATIN_LAST = "\u024f"
"""The last of the Latin letters with marks."""

PlacedText = tuple[str, str, str]
"""Place, role and text."""


class InjectionGuard:
    """Judges the texts of some roles: one that scores `least` points is noted, and refused where the action is to block."""

    def __init__(self, least: float, roles: frozenset[str], action: str) -> None:
        self._least = least
        self._roles = roles
        self._action = action
        self._rules = Rules()
        self._orders = may_order()
        self._scores: TextMemory[tuple[float, list[str]]] = TextMemory()
        self._tool_scores: TextMemory[tuple[float, list[str]]] = TextMemory()
        self.waits = False
        """Whether a text that the rules alone are not sure of is left to what was learned."""

    def may_order(self, x: Exchange) -> bool:
        """Whether a text of the request can score, by what the shared matcher only guesses."""
        passages = x.state.get("passages")
        texts = request_texts(x.req)
        if passages:
            texts.append(passages)
        return bool(self._orders.scan_texts(texts, recur=x.session != ""))

    def read_ahead(self, x: Exchange) -> None:
        """Find out what `may_order` and `judge` will ask of the request's texts."""
        if self._orders.read(request_texts(x.req)):
            self._looked(x, None)

    def judge(self, x: Exchange) -> None:
        """Score the request's texts by the rules; `injection` of the state says that one was found, `injection_doubts` has place,
        role and text of those that wait."""
        (score, names, place), doubts = self._looked(x, x.state.get("passages"))
        if score >= self._least:
            x.state["injection"] = True
            self.refuse(x, score, names, place)
        elif doubts:
            x.state["injection_doubts"] = doubts

    def judge_doubts(self, x: Exchange, doubts: Sequence[PlacedText]) -> None:
        """Judge those that waited by the rules alone, as what was learned cannot be asked."""
        found = ((*self._score(text, from_tool=role == "tool"), place) for place, role, text in doubts)
        self.refuse(x, *max(found, key=lambda each: each[0]))

    def _score(self, text: str, *, from_tool: bool) -> tuple[float, list[str]]:
        memory = self._tool_scores if from_tool else self._scores
        return memory.get(text) or memory.keep(text, self._rules.score(text, from_tool=from_tool))

    def _looked(self, x: Exchange, passages: str | None) -> tuple[tuple[float, list[str], str], list[PlacedText]]:
        """Of the texts and the passages that were put into them the one that scores highest: its score, by which rules, its place;
        and those that wait."""
        worst = (*self._rules.score(passages, from_tool=True), "passages") if passages else (0.0, [], "")
        sure = self._least / ALONE_COUNTS if self.waits else self._least
        doubts: list[PlacedText] = []

        def look(text: str, place: str) -> str:
            nonlocal worst
            role = role_at(x.req, place)
            if role in self._roles and (passages is None or passages not in text):
                score, names = self._score(text, from_tool=role == "tool" and ".tool_calls[" not in place)
                if self._least <= score < sure and may_be_spared(text, role):
                    doubts.append((place, role, text))
                elif score > worst[0]:
                    worst = (score, names, place)
            return text

        rewrite_request(x.req, look)
        return worst, doubts

    def learned(self, core: Core, embedder: Embedder) -> LearnedGuard:
        """The same by what was learned too, for which doubts wait from here on."""
        self.waits = True
        return LearnedGuard(self, self._rules, self._least, core, embedder)

    def refuse(self, x: Exchange, score: float, names: list[str], place: str) -> None:
        """Note an injection, and refuse the call where that is to be."""
        x.note("injection", {"score": score, "rules": names, "place": place, "action": self._action})
        if self._action == "block":
            raise StockyardError(
                "injection_blocked",
                f"A text of the request tries to give the model orders ({', '.join(names)}).",
                param=place,
                details={"score": score, "rules": names},
                retryable=False,
            )


class LearnedGuard:
    """Judges new texts by what was learned, and where that leaves a doubt together with the rules."""

    def __init__(self, guard: InjectionGuard, rules: Rules, least: float, core: Core, embedder: Embedder) -> None:
        self._guard = guard
        self._rules = rules
        self._least = least
        self._clock = core.clock
        self._learned = LearnedInjection(embedder)
        self._first_look = first_look_of(core, embedder)
        from_share = self._learned.share_of(min(DOUBTFUL, least))
        self.looker = LearnedLooker(self._learned.classifier, from_share, lambda x: True, window=WINDOW_MAX_CHARS)

    async def judge(self, x: Exchange, texts: list[PlacedText], *, doubts: bool = False) -> Answer | None:
        """`doubts`: whether the rules found something in one of the texts. Raises `EmbedderLate`."""
        if not doubts and await self._first_look.finds_nothing(x, self.looker, [text for _, _, text in texts]):
            return None
        rules, least = self._rules, self._least
        asked = HARMLESS_BELOW if doubts else DOUBTFUL

        def first(points: list[float]) -> tuple[float, list[str], str] | None:
            for (place, role, text), learned_points in zip(texts, points, strict=True):
                score, names = learned_points, ["learned"]
                if score >= asked:
                    by_rules, named = rules.score(text, from_tool=role == "tool")
                    score, names = with_rules(text, role, score, by_rules), sorted((*named, "learned"))
                if score >= least:
                    return round(score, 1), names, place
            return None

        began = self._clock.mono_ns()
        found = await self._learned.run([text for _, _, text in texts], first, x, least=min(DOUBTFUL, least))
        x.waited_ns += self._clock.mono_ns() - began
        if found is not None:
            self._guard.refuse(x, *found)
        return None


def with_rules(text: str, role: str, learned: float, by_rules: float) -> float:
    """The score of a text by both: the higher one, and a part of the other, for two signs are more than one; rules that stand alone
    count for less."""
    if learned < HARMLESS_BELOW and may_be_spared(text, role):
        return max(learned, by_rules * ALONE_COUNTS)
    return max(learned, by_rules) + OTHER_COUNTS * min(learned, by_rules)


def may_be_spared(text: str, role: str) -> bool:
    """Whether what was learned can tell that a text is harmless: the embedder knows little of other scripts than the Latin one, and
    what a user may well ask for is no business of a tool."""
    return role != "tool" and (text.isascii() or not any(each > LATIN_LAST and each.isalpha() for each in text))
