"""Texts judged by category of harm, in two steps that may be done on the embedder's thread: nothing in them is of the call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy

from instance.chute.modules.safety.classifier import SHORT_CHARS
from instance.chute.modules.safety.toxicity import Toxicity, combined
from instance.chute.sentences import split_sentences

SENTENCES_MAX = 24
"""Of a longer text only the sentences on a topic are compared with what was learned: each takes some 3 ms."""

Scores = dict[str, float]


class JudgedText:
    """Pieces of a text, its own where there is but one, and the scores of each; of several also those of the text as a whole."""

    __slots__ = ("pieces", "scores", "text", "whole")

    def __init__(self, text: str, pieces: Sequence[str]) -> None:
        self.text = text
        self.pieces = pieces
        self.scores: list[Scores] = []
        self.whole: list[Scores] = []


class Judging:
    """`read` scores by the rules and says what is to be compared with what was learned; `judge` combines the two."""

    __slots__ = ("_all", "_by_rules", "_named", "_of_answer", "_reaches", "_texts", "_toxicity", "_wanted", "found")

    def __init__(
        self,
        toxicity: Toxicity,
        texts: Sequence[str],
        named: Callable[[str], Scores] | None = None,
        reaches: Callable[[Scores], bool] | None = None,
        *,
        judge_all: bool = False,
        of_answer: bool = False,
        has_hits: bool = True,
    ) -> None:
        """`named` adds scores of a piece that nothing is combined with; without `reaches` every text is found, else those of which
        a piece does. `judge_all`: compare every text, not only what is on a topic. `of_answer`: the texts are one's sentences. Without
        `has_hits` none of the triggers of the rules is in the texts."""
        self._toxicity = toxicity
        self._texts = texts
        self._named = named
        self._reaches = reaches
        self._all = judge_all
        self._of_answer = of_answer
        self._by_rules = has_hits
        self._wanted: list[tuple[list[Scores], int]] = []
        self.found: list[JudgedText] = []

    def read(self) -> list[str]:
        """The pieces to compare, in the order in which `judge` is given their scores."""
        wanted: list[str] = []
        has_hits = self._by_rules
        if self._of_answer:
            answer = JudgedText("", self._texts)
            self._score(answer.pieces, answer.scores, wanted, every=False)
            self.found.append(answer)
            return wanted
        for text in self._texts:
            self._by_rules = has_hits or self._toxicity.is_disguised(text)
            sentences = split_sentences(text)
            judged = JudgedText(text, sentences if len(sentences) > 1 else [text])
            self._score(judged.pieces, judged.scores, wanted, every=self._all and len(judged.pieces) <= SENTENCES_MAX)
            if len(sentences) > 1:
                # A thought may need more than one sentence to be seen.
                self._score([text], judged.whole, wanted, every=self._all)
            self.found.append(judged)
        return wanted

    def _score(self, pieces: Sequence[str], scores: list[Scores], wanted: list[str], *, every: bool) -> None:
        for place, piece in enumerate(pieces):
            scores.append(self._toxicity.scores(piece) if self._by_rules else {})
            if len(piece) > SHORT_CHARS and (every or (self._by_rules and self._toxicity.on_topic(piece))):
                self._wanted.append((scores, place))
                wanted.append(piece)

    def by_rules(self) -> Judging:
        """The same judging with both steps done, and nothing compared: one of its own, for this one may still be at work."""
        made = copy(self)
        made.found, made._wanted = [], []
        made.read()
        made.judge(())
        return made

    def judge(self, learned: Sequence[Scores]) -> None:
        """Combine with what was learned, nothing where that is not asked."""
        if learned:
            for (scores, place), near in zip(self._wanted, learned, strict=True):
                scores[place] = combined(scores[place], near)
        named, reaches = self._named, self._reaches
        if named is not None:
            for judged in self.found:
                for piece, own in zip(judged.pieces, judged.scores, strict=True):
                    own.update(named(piece))
                for whole in judged.whole:
                    whole.update(named(judged.text))
        if reaches is not None:
            self.found = [each for each in self.found if any(map(reaches, (*each.scores, *each.whole)))]
