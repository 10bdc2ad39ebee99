"""Injection in results and descriptions of tools by what was learned from labelled examples of such texts (`make learn`)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from instance.chute.modules.safety.all_learned import learned_of_tools
from instance.chute.modules.safety.classifier import SHORT_CHARS, Classifier, logit, readable
from instance.chute.modules.safety.learned_files import HARMLESS, TOOL
from instance.chute.modules.safety.learned_injection import (
    AT_THRESHOLD,
    PER_LOGIT,
    POINTS_MAX,
    TEXT_MAX_CHARS,
    WINDOW_MAX_CHARS,
    WINDOWS_MAX,
)
from instance.chute.sentences import split_sentences

if TYPE_CHECKING:
    from instance.chute.embedding.embedder import Embedder, Vectors
    from instance.chute.exchange import Exchange

T = TypeVar("T")

_LINE = re.compile(r"\n(?!\s{0,40}[a-z])")
"""Where a line begins that does not go on with what stands before it."""
_STRING = re.compile(r'("(?:[^"\\]|\\.)*+")(\s*:)?')
"""A string of JSON, and whether it is a name."""


class LearnedToolTexts:
    """Points for each text, on the scale of promptguard's rules: 5 at the learned threshold."""

    def __init__(self, embedder: Embedder) -> None:
        self._classifier = Classifier(TOOL.weights, learned_of_tools())
        self._harmless = self._classifier.names.index(HARMLESS)
        self._threshold = logit(self._classifier.threshold)
        self._embedder = embedder

    def points(self, texts: Sequence[str], x: Exchange | None = None) -> Awaitable[list[float]]:
        """The points of each text: those of its worst window. All of the work is done on the embedder's thread. `x`: the call that waits
        for it. Raises `EmbedderLate`."""
        windows: list[str] = []
        of: list[int] = []

        def read() -> list[str]:
            for place, text in enumerate(texts):
                chosen = self._windows(pieces_of(text[:TEXT_MAX_CHARS]))
                windows.extend(map(readable, chosen))
                of.extend([place] * len(chosen))
            return windows

        def judged(vectors: Vectors) -> list[float]:
            worst = [0.0] * len(texts)
            if windows:
                shares: Any = 1.0 - self._classifier.shares(windows, vectors)[:, self._harmless]
                for place, share in zip(of, shares, strict=True):
                    points = AT_THRESHOLD + PER_LOGIT * (logit(float(share)) - self._threshold)
                    worst[place] = max(worst[place], min(points, POINTS_MAX))
            return worst

        return self._embedder.run(read, judged, x)

    def _windows(self, pieces: list[str]) -> list[str]:
        """What is judged: the pieces, and each two that follow one another; of many pieces, around the likeliest by their words."""
        if len(pieces) * 2 <= WINDOWS_MAX:
            return list(dict.fromkeys((*pieces, *_pairs(pieces))))
        harmless = self._classifier.by_words(pieces)[:, self._harmless]
        chosen: dict[str, None] = {}
        for place in sorted(harmless.argsort()[: WINDOWS_MAX // 3]):
            chosen |= dict.fromkeys((pieces[place], *_pairs(pieces[max(0, place - 1) : place + 2])))
        return list(chosen)


def pieces_of(text: str) -> list[str]:
    """What of a text is judged by itself: its sentences, lines, and values where it is JSON; long ones in pieces, without those too
    short to say anything."""
    return [
        piece[start : start + WINDOW_MAX_CHARS]
        for said in _said(text)
        for sentence in split_sentences(said)
        for line in _LINE.split(sentence)
        if (piece := line.strip())
        for start in range(0, len(piece), WINDOW_MAX_CHARS)
        if len(piece) - start > SHORT_CHARS
    ]


def _said(text: str) -> Iterator[str]:
    """The text, or of JSON each string, behind the name it has. Read as it is written: of two values of one name a model sees both."""
    if text.lstrip()[:1] not in ("{", "[") or not _is_json(text):
        yield text
        return
    name = ""
    for match in _STRING.finditer(text):
        said = orjson.loads(match[1])
        if match[2]:
            if len(name) > SHORT_CHARS:
                yield name
            name = said
        else:
            yield f"{name}: {said}" if name else said
            name = ""
    if len(name) > SHORT_CHARS:
        yield name


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _pairs(pieces: list[str]) -> list[str]:
    return [f"{one} {other}" for one, other in pairwise(pieces) if len(one) + len(other) < WINDOW_MAX_CHARS]
