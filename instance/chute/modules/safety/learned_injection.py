"""Injection by what was learned from labelled examples (`make learn`), beside the rules: what a text asks of the model, in whatever words."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from math import exp, log
from typing import TYPE_CHECKING, Any, TypeVar

from instance.chute.modules.safety.classifier import SHORT_CHARS, Classifier, readable
from instance.chute.modules.safety.learned_files import HARMLESS, INJECTION
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
        return 1 / (1 + exp(-_logit(self.classifier.threshold) - (points - AT_THRESHOLD) / PER_LOGIT))

    async def points(self, texts: Sequence[str]) -> list[float]:
        """The points of each text: those of its worst window."""
        return await self.run(texts, lambda points: points)

    def run(self, texts: Sequence[str], work: Callable[[list[float]], T], x: Exchange | None = None) -> Awaitable[T]:
        """`work(points of each text)`, all of it on the embedder's thread: `work` must not touch what the loop changes. `x`: the call
        that waits for it. Raises `EmbedderLate`."""
        windows: list[str] = []
        of: list[int] = []

        def read() -> list[str]:
            for place, text in enumerate(texts):
                sentences = sentences_of(text[:TEXT_MAX_CHARS])
                chosen = _windows(sentences) if len(sentences) * 2 <= WINDOWS_MAX else self._likeliest(sentences)
                windows.extend(map(readable, chosen))
                of.extend([place] * len(chosen))
            return windows

        def judged(vectors: Vectors) -> T:
            worst = [0.0] * len(texts)
            if windows:
                for place, points in zip(of, self._points(windows, vectors), strict=True):
                    worst[place] = max(worst[place], points)
            return work(worst)

        return self._embedder.run(read, judged, x)

    def _likeliest(self, sentences: list[str]) -> list[str]:
        """The windows around the sentences that by their words are the likeliest."""
        harmless = self.classifier.by_words(sentences)[:, self._harmless]
        chosen: dict[str, None] = {}
        for place in sorted(harmless.argsort()[: WINDOWS_MAX // 3]):
            chosen |= dict.fromkeys(_windows(sentences[max(0, place - 1) : place + 2], around=sentences[place]))
        return list(chosen)

    def _points(self, windows: Sequence[str], vectors: Vectors) -> list[float]:
        shares: Any = 1.0 - self.classifier.shares(windows, vectors)[:, self._harmless]
        threshold = _logit(self.classifier.threshold)
        return [
            min(POINTS_MAX, max(0.0, AT_THRESHOLD + PER_LOGIT * (_logit(float(share)) - threshold))) for share in shares
        ]


def _logit(share: float) -> float:
    share = min(max(share, 1e-6), 1 - 1e-6)
    return log(share / (1 - share))


def sentences_of(text: str) -> list[str]:
    """What of a text is judged by itself: its sentences, long ones in pieces, without those too short to say anything."""
    pieces = (piece.strip() for piece in split_sentences(text))
    return [
        piece[start : start + WINDOW_MAX_CHARS]
        for piece in pieces
        for start in range(0, len(piece), WINDOW_MAX_CHARS)
        if len(piece) - start > SHORT_CHARS
    ]


def _windows(sentences: list[str], *, around: str = "") -> list[str]:
    """The sentences (only the one that is `around`), and each two that follow one another: an order may need its sentence
    before to be one."""
    pairs = [f"{one} {other}" for one, other in pairwise(sentences) if len(one) + len(other) < WINDOW_MAX_CHARS]
    return list(dict.fromkeys((*([around] if around else sentences), *pairs)))
