"""One answer compared with what its prompt gives: its statements with the reference, its facts by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from instance.chute.answer import JSON
from instance.chute.modules.safety.checkable_facts import Doubt, doubts
from instance.chute.modules.safety.grounding import STATEMENTS_MAX, Given, Reference, is_statement, references
from instance.chute.sentences import split_sentences

if TYPE_CHECKING:
    from instance.chute.embedding.embedder import Vectors


class Finding(NamedTuple):
    """A sentence that is in doubt, with its support (1 where only a fact in it is) and why."""

    sentence: str
    support: float
    why: list[str]


class CheckedAnswer:
    """Takes texts alone and touches nothing else, so that it can be done on the embedder's thread: `read`, then `judge`."""

    def __init__(
        self, text: str, given: Sequence[Given], prompt: Sequence[str], checks: frozenset[str], min_support: float
    ) -> None:
        """`given`: the texts that there may be something to rest on in; `prompt`: all texts of the request."""
        self.text = text
        self.given = given
        self._prompt = prompt
        self._checks = checks
        self._min_support = min_support
        self._reference: list[str] = []
        self._compared: Reference | None = None
        self._sentences: list[tuple[int, str]] | None = None
        self._statements: list[tuple[int, str]] | None = None
        self.doubted: set[int] = set()
        """Where facts are in doubt."""
        self._found: dict[int, Finding] = {}
        self._result: tuple[float, list[Finding], list[JSON]] | None = None

    @property
    def statements(self) -> list[tuple[int, str]]:
        """The sentences that state something, with where they begin."""
        if self._statements is None:
            self._statements = [each for each in self._placed() if is_statement(each[1])][:STATEMENTS_MAX]
        return self._statements

    def read(self) -> list[str]:
        """The texts whose vectors `judge` needs; none when there is nothing to rest on, or nothing stated."""
        self._reference = references(self.given)
        if not self._reference or "grounding" not in self._checks or not self.statements:
            return []
        self._compared = Reference(self._reference, [sentence for _, sentence in self.statements])
        return self._compared.texts

    def judge(self, vectors: Vectors | None) -> None:
        """Find the statements that the reference does not support, and the facts that cannot be."""
        if self._compared is not None and vectors is not None:
            judged = self._compared.judged(vectors, by_number="number" in self._checks)
            for (start, sentence), (support, why) in zip(self.statements, judged, strict=True):
                if support < self._min_support:
                    self._found[start] = Finding(sentence, support, why)
        for doubt in doubts(self.text, "\n".join(self._prompt), self._checks, grounded=bool(self._reference)):
            self.add(doubt)
        self.result()

    def by_facts(self) -> CheckedAnswer:
        """The same answer checked without vectors, one of its own, for this one may still be at work: by its facts alone."""
        made = CheckedAnswer(self.text, self.given, self._prompt, self._checks - {"grounding"}, self._min_support)
        made.read()
        made.judge(None)
        return made

    def add(self, doubt: Doubt) -> None:
        """Put the sentence that holds a doubtful fact in doubt."""
        self.doubted.add(doubt.start)
        self._result = None
        start, sentence = next(
            ((at, each) for at, each in reversed(self._placed()) if at <= doubt.start), (0, self.text[:200])
        )
        known = self._found.get(start)
        self._found[start] = Finding(
            sentence, known.support if known else 1.0, [*(known.why if known else ()), doubt.why]
        )

    def add_disagreeing(self, start: int, sentence: str, support: float) -> None:
        """Put a statement in doubt that other answers to the question do not make."""
        self._result = None
        known = self._found.get(start)
        self._found[start] = Finding(sentence, support, [*(known.why if known else ()), "samples"])

    def result(self) -> tuple[float, list[Finding], list[JSON]]:
        """The share of statements without doubt (1 when there are none), those in doubt, in order, and what the trail says of
        each."""
        if self._result is None:
            found = self._found
            findings = [found[start] for start in sorted(found)]
            counted = {start for start, _ in self.statements} | found.keys() if found else ()
            score = 1.0 - len(found) / len(counted) if counted else 1.0
            self._result = score, findings, list(map(_trail_entry, findings))
        return self._result

    def _placed(self) -> list[tuple[int, str]]:
        """The sentences with where they begin."""
        if self._sentences is None:
            self._sentences, at = [], 0
            for sentence in split_sentences(self.text):
                if sentence.strip():
                    self._sentences.append((at, sentence))
                at += len(sentence)
        return self._sentences


def _trail_entry(finding: Finding) -> JSON:
    """What the trail says of a finding: no text."""
    return {
        "sentence_hash": sha256(finding.sentence.strip().encode("utf-8", "replace")).hexdigest()[:16],
        "support": round(finding.support, 3),
        "why": list(dict.fromkeys(finding.why)),
    }
