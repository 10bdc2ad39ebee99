"""The score of an answer: the weighted share of the checks that it passed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from instance.chute import language
from instance.chute.answer import Answer
from instance.chute.embedding.embedder import Embedder, embedder_of
from instance.chute.embedding.late import ACTION, EmbedderLate
from instance.chute.exchange import Exchange
from instance.chute.modules.validate.answer_checks import JUDGE_PASSES, Check, Said, passes, plain_test, why
from instance.chute.text import request_texts
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.modules.validate.answer_judge import AnswerJudge
    from instance.core.core import Core

QUESTION_MAX_CHARS = 2_000


class Score(NamedTuple):
    """What the checks say of one answer: its score (0 to 1), and the checks that it failed, in words."""

    value: float
    failed: list[tuple[Check, str]]

    def with_action(self, *actions: str) -> list[tuple[Check, str]]:
        return [each for each in self.failed if each[0].action in actions]

    def rank(self) -> tuple[bool, float]:
        """The greater, the better the answer."""
        return not self.with_action("reject"), self.value


PASSED = Score(1.0, [])
_NOTHING = Said("", "")


class Scores:
    """Makes the checks. Those of other languages, of the embedder and of the judge only once it is started."""

    def __init__(self, checks: Sequence[Check]) -> None:
        self._checks = checks
        self._types = {check.type for check in checks}
        self.is_plain = not self._types & {"judge", "similarity"}
        """Every check is made here and now, and costs nothing."""
        self._plain = tuple((plain_test(check), check.weight, check) for check in checks) if self.is_plain else ()
        self._weight = 0.0
        for check in checks:
            self._weight += check.weight
        self._embedder: Embedder
        self._judge: AnswerJudge

    async def start(self, core: Core, judge: AnswerJudge) -> None:
        """Load what the checks need. Raises `invalid_value` for a language that cannot be told apart."""
        self._judge = judge
        if "similarity" in self._types:
            self._embedder = embedder_of(core)
            await self._embedder.load()
        if "language" in self._types:
            await language.load()
            for number, check in enumerate(self._checks):
                if check.type == "language" and check.params["code"].lower() not in language.known_languages():
                    raise StockyardError(
                        "invalid_value",
                        f"{check.params['code']!r} is no ISO 639-1 code of a language that can be told apart.",
                        param=f"config.checks.{number}.params.code",
                    )

    def plain(self, said: Said) -> Score:
        """The score where every check `is_plain`."""
        reached = 0.0
        failed: list[tuple[Check, str]] = []
        for test, weight, check in self._plain:
            if test(said):
                reached += weight
            else:
                failed.append((check, why(check)))
        return Score(reached / self._weight, failed) if failed else PASSED

    async def of(self, x: Exchange, said: Said) -> tuple[Score, int]:
        """The answer's score, and what judging it cost in nano-dollars. A check that cannot be made does not count."""
        if self.is_plain:
            return self.plain(said), 0
        total = reached = 0.0
        nano = 0
        failed: list[tuple[Check, str]] = []
        for check in self._checks:
            share: float | None
            good, reason = True, ""
            if check.type == "judge":
                share, reason, cost = await self._judge.grade(x, check, said)
                nano += cost
                good = share is None or share * 10 >= check.params.get("min_score", JUDGE_PASSES)
            elif check.type == "similarity":
                near = await self._similarity(x, said)
                good = near is None or near >= check.params["min"]
                share = None if near is None else float(good)
            else:
                good = passes(check, said)
                share = float(good)
            if share is None:
                continue
            total += check.weight
            reached += check.weight * share
            if not good:
                failed.append((check, why(check, reason)))
        return Score(reached / total if total else 1.0, failed), nano

    async def _similarity(self, x: Exchange, said: Said) -> float | None:
        question = _question(x)[-QUESTION_MAX_CHARS:]
        if not question or not said.text.strip():
            return None if not question else 0.0
        try:
            one, other = await self._embedder.embed([question, said.text[:QUESTION_MAX_CHARS]], x)
        except EmbedderLate as late:
            x.note(ACTION, {"reason": late.reason, "instead": "other checks"}, module="evalgate", hook="around")
            return None
        return float(one @ other)


def said_in(answer: Answer) -> Said | None:
    """What a whole answer's first choice says; `None` where it calls the caller's tools: there is no answer to judge yet."""
    obj = answer.obj
    choices = obj.get("choices") if obj is not None else None
    if not choices:
        return _NOTHING
    for choice in choices:
        message = choice.get("message")
        if message and message.get("tool_calls"):
            return None
    first = choices[0]
    message = first.get("message")
    text = message.get("content") if message else None
    return Said(text if type(text) is str else "", str(first.get("finish_reason") or ""))


def _question(x: Exchange) -> str:
    for message in reversed(x.req.get("messages") or ()):
        if message.get("role") == "user":
            return " ".join(request_texts({"messages": [message]}))
    return ""
