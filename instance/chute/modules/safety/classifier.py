"""Names what a text is by what was learned from labelled examples: its meaning, its words, and pieces of its words.

A softmax regression over three parts, each of a fixed length: the sentence's vector, its words and pairs of words, and runs of
three and four letters. The words and letters tell what the vector blurs: who does it, to whom, and whether it is asked for or told of.
The weights are fitted by `python -m bench.learn` and lie beside the examples; `fit_regression` is here because a user's own
examples are learned on top of them while the instance runs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instance.chute.modules.safety.all_learned import AllLearned, all_learned
from instance.chute.modules.safety.learned_files import PENALTY
from instance.chute.modules.safety.plain_form import is_ordinary, plain, unleeted

if TYPE_CHECKING:
    from instance.chute.embedding.embedder import Vectors

FOUND = 0.7
"""The score that a text has at the learned threshold."""
SHORT_CHARS = 7
"""A text that is no longer has too little to be told by."""
STEPS = 400

_MAY_BE_DISGUISED = re.compile(r"[^\W\d_](?:[\d_@$|€]|!+[\w@$|€])|[\d_@$!|€][^\W\d_]|([^\W\d_])\1\1")
"""A sign or figure beside a letter, other than marks at its end, or a letter three times."""


def readable(text: str) -> str:
    """What is embedded of a text: itself, or what it says where it is disguised; without the space around it."""
    if is_ordinary(text):
        return text.strip()
    shown = plain(text).strip()
    if _MAY_BE_DISGUISED.search(shown) is None:
        return shown
    words = shown.split()
    if any(word[:1].isalnum() and not word.isalpha() for word in words):
        read = unleeted(shown)
        changed = sum(1 for one, other in zip(words, read.split(), strict=False) if one.lower() != other)
        if changed * 3 >= len(words):
            return read
    return shown


class Classifier:
    """The learned weights; `shares` answers for each text how likely each name is, summing to 1.

    It may be used on any thread: nothing in it changes.
    """

    def __init__(self, path: Path, learned: AllLearned | None = None) -> None:
        """`learned`: what the weights lie in beside others, where that is not what is asked about most calls."""
        import numpy as np

        with np.load(path) as kept:
            self.names: tuple[str, ...] = tuple(str(name) for name in kept["names"])
            self.threshold = float(kept["threshold"])
            """Of the share of what is not harmless: from there on a text counts as found."""
            self.digest = str(kept["digest"])
            self._mean = kept["mean"]
        self.all = learned if learned is not None else all_learned()
        self._columns = self.all.columns[path]
        self._number = self.all.numbers[path]
        self._odds = _odds(self.threshold) / _odds(FOUND)

    def logits(self, texts: Sequence[str], vectors: Vectors) -> Any:
        """float32[texts, names]; `vectors` are those of the readable texts."""
        return self.all.by_meaning(vectors)[:, self._columns] + self.by_words(texts)

    def by_words(self, texts: Sequence[str]) -> Any:
        """The logits without what the meaning adds: fewer are right, but it takes no embedding."""
        return (self.all.words.logits(texts) + self.all.bias)[:, self._columns]

    def harm_of(self, harms: Any) -> Any:
        """float32[texts]: the share of what is not harmless, of what `AllLearned.harms` says."""
        return harms[:, self._number]

    def shares(self, texts: Sequence[str], vectors: Vectors) -> Any:
        """float32[texts, names]: how likely each name is."""
        return softmax(self.logits(texts, vectors))

    def centred(self, vectors: Vectors) -> Any:
        """The vectors from the examples' middle, each of length 1."""
        return unit(vectors - self._mean)

    def score(self, share: float) -> float:
        """0 to 1: a share of what is not harmless, so that the threshold is at `FOUND`."""
        return 1.0 / (1.0 + (1.0 / max(share, 1e-6) - 1.0) * self._odds)

    def share_of(self, score: float) -> float:
        """The share that has a score."""
        return 1.0 / (1.0 + (1.0 / max(score, 1e-6) - 1.0) / self._odds)


def _odds(share: float) -> float:
    return share / (1.0 - share)


def logit(share: float) -> float:
    """The logarithm of a share's odds, of one between a millionth and all but a millionth."""
    share = min(max(share, 1e-6), 1 - 1e-6)
    return log(share / (1 - share))


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
