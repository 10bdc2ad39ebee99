"""Names what a text is by what was learned from labelled examples: its meaning, its words, and pieces of its words.

A softmax regression over three parts, each of length 1: the sentence's vector, its words and pairs of words, and runs of three
and four letters. The words and letters tell what the vector blurs: who does it, to whom, and whether it is asked for or told of.
The weights are fitted by `python -m bench.learn` and lie beside the examples; `fit_regression` is here because a user's own
examples are learned on top of them while the instance runs.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

from instance.chute.modules.safety.plain_form import plain, unleeted

if TYPE_CHECKING:
    from instance.chute.embedding.embedder import Vectors

HARMLESS = "none"
BUCKETS = 1 << 14
"""Words are counted by their hash, letters by theirs: each has so many places."""
BIAS = 0.3
PENALTY = 0.1
"""Of the regression, on large weights; by cross-validation."""
FOUND = 0.7
"""The score that a text has at the learned threshold."""
SHORT_CHARS = 7
"""A text that is no longer has too little to be told by."""
STEPS = 400
FORM = 1
"""Goes up when texts are read in another way, so that weights of the old way are known as stale."""
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")


def readable(text: str) -> str:
    """What is embedded of a text: itself, or what it says where it is disguised."""
    shown = plain(text)
    words = shown.split()
    if any(word[:1].isalnum() and not word.isalpha() for word in words):
        read = unleeted(shown)
        changed = sum(1 for one, other in zip(words, read.split(), strict=False) if one.lower() != other)
        if changed * 3 >= len(words):
            return read
    return shown


def word_places(text: str) -> tuple[list[int], list[int]]:
    """The places of a text's words and pairs of words, and of its runs of letters, each once."""
    words = [word[:40] for word in _WORD.findall(unleeted(plain(text)))]
    ends = ["<", *words, ">"]
    grams = {*words, *(f"{one} {other}" for one, other in itertools.pairwise(ends))}
    runs = set()
    for word in set(words):
        framed = f" {word} "
        for length in (3, 4):
            for start in range(len(framed) - length + 1):
                runs.add(framed[start : start + length])
    return (
        sorted({crc32(each.encode("utf-8", "replace")) % BUCKETS for each in grams}),
        sorted({BUCKETS + crc32(each.encode("utf-8", "replace")) % BUCKETS for each in runs}),
    )


def digest_of(rows: Sequence[tuple[str, str]]) -> str:
    """What weights remember of the examples that they were learned from."""
    said = "\n".join(f"{name}\t{text}" for name, text in rows)
    return sha256(f"{FORM} {BUCKETS} {BIAS} {PENALTY}\n{said}".encode()).hexdigest()


class Classifier:
    """The learned weights; `shares` answers for each text how likely each name is, summing to 1.

    It may be used on any thread: nothing in it changes.
    """

    def __init__(self, path: Path) -> None:
        import numpy as np

        with np.load(path) as kept:
            self.names: tuple[str, ...] = tuple(str(name) for name in kept["names"])
            self.threshold = float(kept["threshold"])
            """Of the share of what is not harmless: from there on a text counts as found."""
            self.digest = str(kept["digest"])
            self._mean = kept["mean"]
            self._bias = kept["bias"]
            self._meaning = kept["meaning"].astype(np.float32)
            self._rarity = kept["rarity"].astype(np.float32)
            self._words = kept["words"]
            self._scale = kept["scale"]

    def logits(self, texts: Sequence[str], vectors: Vectors) -> Any:
        """float32[texts, names]; `vectors` are those of the readable texts."""
        return self.centred(vectors) @ self._meaning + self.by_words(texts)

    def by_words(self, texts: Sequence[str]) -> Any:
        """The logits without what the meaning adds: fewer are right, but it takes no embedding."""
        import numpy as np

        found = np.repeat(self._bias[None], len(texts), axis=0)
        for row, text in enumerate(texts):
            for places in word_places(text):
                if places:
                    rare = self._rarity[places]
                    found[row] += (rare / np.sqrt(rare @ rare)) @ self._words[places] * self._scale
        return found

    def shares(self, texts: Sequence[str], vectors: Vectors) -> Any:
        """float32[texts, names]: how likely each name is."""
        return softmax(self.logits(texts, vectors))

    def centred(self, vectors: Vectors) -> Any:
        """The vectors from the examples' middle, each of length 1."""
        return unit(vectors - self._mean)

    def score(self, share: float) -> float:
        """0 to 1: a share of what is not harmless, so that the threshold is at `FOUND`."""
        return 1.0 / (1.0 + (1.0 / max(share, 1e-6) - 1.0) * _odds(self.threshold) / _odds(FOUND))


def _odds(share: float) -> float:
    return share / (1.0 - share)


def unit(rows: Any) -> Any:
    """The rows, each of length 1."""
    import numpy as np

    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def softmax(logits: Any) -> Any:
    import numpy as np

    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def fit_regression(likeness: Any, wanted: Any, *, before: Any = 0.0, steps: int = STEPS) -> Any:
    """Weights of the examples [examples, names], from how alike each two are, by accelerated gradient descent (Nesterov).

    `before`: logits that the examples have already. The weights of anything that likeness is a dot product of are its
    transpose times these.
    """
    import numpy as np

    along = np.ones(len(likeness), np.float32)
    for _ in range(30):
        along = likeness @ along
        along /= np.linalg.norm(along)
    step = 1.0 / (0.5 * float(along @ (likeness @ along)) * 1.02 + PENALTY)
    found = np.zeros(wanted.shape, np.float32)
    ahead, pace = found, 1.0
    for _ in range(steps):
        slope = softmax(likeness @ ahead + before) - wanted + PENALTY * ahead
        after = ahead - step * slope
        faster = (1.0 + (1.0 + 4.0 * pace * pace) ** 0.5) / 2.0
        ahead = after + (pace - 1.0) / faster * (after - found)
        found, pace = after, faster
    return found
