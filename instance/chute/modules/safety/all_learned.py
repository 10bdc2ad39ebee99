"""All that was learned from labelled examples, side by side: the logits of texts by their meaning and their words."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instance.chute.modules.safety.learned_files import LEARNED
from instance.chute.modules.safety.word_rows import WordRows

if TYPE_CHECKING:
    from instance.chute.embedding.embedder import Vectors


class AllLearned:
    """Logits are float32[texts, names]: `columns` says by its weights where what was learned has its names."""

    def __init__(self, weights: Sequence[Path]) -> None:
        import numpy as np

        self.words = WordRows(weights)
        self.columns = self.words.columns
        parts, means, biases, centres = [], [], [], []
        for path in weights:
            with np.load(path) as kept:
                meaning, mean = kept["meaning"].astype(np.float32), kept["mean"]
                parts.append(meaning)
                means.append(mean)
                biases.append(kept["bias"])
                centres.append(mean @ meaning)
        self.bias = np.hstack(biases)
        self._names = len(self.bias)
        self._centre = np.hstack(centres)
        self._weights = np.ascontiguousarray(np.hstack([*parts, np.stack(means, axis=1)]))
        self._means_squared = np.array([mean @ mean for mean in means])
        self._whose = np.repeat(np.arange(len(parts)), [part.shape[1] for part in parts])

    def by_meaning(self, vectors: Vectors) -> Any:
        """What the vectors add: each from the examples' middle, of length 1, times the weights."""
        import numpy as np

        found = vectors @ self._weights
        # |v - m|² = v² - 2 v m + m²
        squares = np.square(vectors).sum(axis=1)[:, None] + self._means_squared - 2.0 * found[:, self._names :]
        lengths = np.sqrt(np.maximum(squares, 1e-18))
        return (found[:, : self._names] - self._centre) / lengths[:, self._whose]

    def logits(self, tokens: Sequence[list[str]], vectors: Vectors) -> Any:
        """Of texts by their tokens (`tokens_of`) and the vectors of what they read as."""
        return self.by_meaning(vectors) + self.words.logits_of(tokens) + self.bias


@cache
def all_learned() -> AllLearned:
    """The one of this process, of all weights that are packaged."""
    return AllLearned([LEARNED[name].weights for name in sorted(LEARNED)])
