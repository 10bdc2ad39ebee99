"""Injection by what was learned from labelled examples (`make learn`), beside the rules: what a text asks of the model, in whatever words."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from math import exp
from typing import TYPE_CHECKING, Any, TypeVar

from instance.chute.modules.safety.classifier import SHORT_CHARS, Classifier, logit, readable
from instance.chute.modules.safety.learned_files import HARMLESS, INJECTION
from instance.chute.modules.safety.pair_vectors import of_pairs, under
from instance.chute.sentences import split_sentences

if TYPE_CHECKING:
    from instance.chute.embedding.embedder import Embedder, Vectors
    from instance.chute.exchange import Exchange

T = TypeVar("T")

TEXT_MAX_CHARS = 50_000
"""What of one text is looked at."""
WINDOW_MAX_CHARS = 400
WINDOWS_MAX = 24
"""Windows of one text that are embedded, some 3 ms each: of a longer text those whose words are the likeliest."""
DOUBTFUL = 2.0
"""Points from which the rules are asked once more for the same text, to be weighed together."""
AT_THRESHOLD, PER_LOGIT, POINTS_MAX = 5.0, 1.5, 10.0
"""Points of the rules' scale that the learned threshold stands for, that one step of the logit adds, and at most."""


class LearnedInjection:
    """Points for each text, on the scale of the rules: 5 where cross-validation set the threshold."""

    def __init__(self, embedder: Embedder) -> None:
        self.classifier = Classifier(INJECTION.weights)
        self._harmless = self.classifier.names.index(HARMLESS)
        self._embedder = embedder

    def share_of(self, points: float) -> float:
        """The share of harm that has so many points."""
        return 1 / (1 + exp(-logit(self.classifier.threshold) - (points - AT_THRESHOLD) / PER_LOGIT))

    async def points(self, texts: Sequence[str]) -> list[float]:
        """The points of each text: those of its worst window."""
        return await self.run(texts, lambda points: points)

    def run(
        self,
        texts: Sequence[str],
        work: Callable[[list[float]], T],
        x: Exchange | None = None,
        *,
        least: float = DOUBTFUL,
    ) -> Awaitable[T]:
        """`work(points of each text)`, all of it on the embedder's thread: `work` must not touch what the loop changes. `x`: the call
        that waits for it. Points below `least` may be too few: pairs that surely have fewer are not read. Raises `EmbedderLate`."""
        windows = Windows()
        doubtful: list[tuple[int, str]] = []

        def read() -> list[str]:
            for place, text in enumerate(texts):
                sentences = sentences_of(text[:TEXT_MAX_CHARS])
                if len(sentences) * 2 <= WINDOWS_MAX:
                    windows.add(place, sentences)
                else:
                    for near, around in self._likeliest(sentences):
                        windows.add(place, near, around=around)
            return list(windows.sentences)

        def more(vectors: Vectors) -> list[str]:
            pairs = windows.pairs
            if pairs:
                one, other = [pair[1] for pair in pairs], [pair[2] for pair in pairs]
                words = [len(said.split()) for said in windows.sentences]
                about = of_pairs(vectors[one], vectors[other], [words[n] for n in one], [words[n] for n in other])
                shares = self._shares([said for _, _, _, said in pairs], about)
                from_share = under(self.share_of(least))
                doubtful.extend(
                    (pair[0], pair[3]) for pair, share in zip(pairs, shares, strict=True) if share >= from_share
                )
            return [said for _, said in doubtful]

        def judged(vectors: Vectors) -> T:
            worst = [0.0] * len(texts)
            said = list(windows.sentences)
            rows = [row for _, row in windows.judged] + list(range(len(said), len(vectors)))
            read = [(place, said[row]) for place, row in windows.judged] + doubtful
            if read:
                for (place, _), points in zip(
                    read, self._points([text for _, text in read], vectors[rows]), strict=True
                ):
                    worst[place] = max(worst[place], points)
            return work(worst)

        return self._embedder.run(read, judged, x, more=more)

    def _likeliest(self, sentences: list[str]) -> list[tuple[list[str], str]]:
        """The sentences that by their words are the likeliest, each behind those around it."""
        harmless = self.classifier.by_words(sentences)[:, self._harmless]
        places = sorted(harmless.argsort()[: WINDOWS_MAX // 3])
        return [(sentences[max(0, place - 1) : place + 2], sentences[place]) for place in places]

    def _shares(self, windows: Sequence[str], vectors: Vectors) -> Any:
        return 1.0 - self.classifier.shares(windows, vectors)[:, self._harmless]

    def _points(self, windows: Sequence[str], vectors: Vectors) -> list[float]:
        shares = self._shares(windows, vectors)
        threshold = logit(self.classifier.threshold)
        return [
            min(POINTS_MAX, max(0.0, AT_THRESHOLD + PER_LOGIT * (logit(float(share)) - threshold))) for share in shares
        ]


def sentences_of(text: str) -> list[str]:
    """What of a text is judged by itself: its sentences, long ones in pieces, without those too short to say anything."""
    pieces = (piece.strip() for piece in split_sentences(text))
    return [
        piece[start : start + WINDOW_MAX_CHARS]
        for piece in pieces
        for start in range(0, len(piece), WINDOW_MAX_CHARS)
        if len(piece) - start > SHORT_CHARS
    ]


class Windows:
    """What is judged of some texts: sentences, and each two that follow one another, for an order may need its sentence before to be
    one."""

    def __init__(self) -> None:
        self.sentences: dict[str, int] = {}
        """In readable form, with their rows."""
        self.judged: dict[tuple[int, int], None] = {}
        """The sentences that are judged by themselves: place of the text and row."""
        self.pairs: list[tuple[int, int, int, str]] = []
        """Place of the text, the rows of the two, and both in readable form."""
        self._paired: set[tuple[int, str]] = set()

    def add(self, place: int, sentences: Sequence[str], *, around: str = "") -> None:
        """Add the sentences of a text that follow one another; of those by themselves only the one that is `around`, if given."""
        rows = [self._row(each) for each in sentences]
        for each, row in zip(sentences, rows, strict=True):
            if not around or each == around:
                self.judged[place, row] = None
        for (one, other), (row, next_row) in zip(pairwise(sentences), pairwise(rows), strict=True):
            if len(one) + len(other) < WINDOW_MAX_CHARS:
                said = readable(f"{one} {other}")
                if (place, said) not in self._paired:
                    self._paired.add((place, said))
                    self.pairs.append((place, row, next_row, said))

    def _row(self, sentence: str) -> int:
        return self.sentences.setdefault(readable(sentence), len(self.sentences))
