"""All that was learned from labelled examples, side by side: the logits of texts by their meaning and their words."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instance.chute.modules.safety.learned_files import HARMLESS, LEARNED, LEARNED_OF_TOOLS
from instance.chute.modules.safety.word_rows import WordRows

if TYPE_CHECKING:
    from instance.chute.embedding.embedder import Vectors


class AllLearned:
    """Logits are float32[texts, names]: `columns` says by its weights where what was learned has its names."""

    def __init__(self, weights: Sequence[Path]) -> None:
        import numpy as np

        self.words = WordRows(weights)
        self.columns = self.words.columns
        parts, means, biases, centres, harmless, directions = [], [], [], [], [], []
        self._pairs: list[tuple[slice, int, Any, Any]] = []
        """Of weights that have directions: their columns and number, where their middle lies along these, and what each two of these
        add to each name, float32[directions, names x directions]."""
        for path in weights:
            with np.load(path) as kept:
                meaning, mean = kept["meaning"].astype(np.float32), kept["mean"]
                parts.append(meaning)
                means.append(mean)
                biases.append(kept["bias"])
                centres.append(mean @ meaning)
                if "pairs" in kept:
                    directions.append(kept["directions"].astype(np.float32))
                    pairs = np.hstack(list(kept["pairs"].astype(np.float32)))
                    self._pairs.append((self.columns[path], len(means) - 1, mean @ directions[-1], pairs))
                harmless.append(self.columns[path].start + list(kept["names"]).index(HARMLESS))
        self.numbers = {path: number for number, path in enumerate(weights)}
        self.bias = np.hstack(biases)
        self._names = len(self.bias)
        self._centre = np.hstack(centres)
        self._weights = np.ascontiguousarray(np.hstack([*parts, np.stack(means, axis=1), *directions]))
        self._one_and_squares = np.array([1.0 + mean @ mean for mean in means], np.float32)
        self._harmless = np.array(harmless)
        self._starts = np.array([each.start for each in self.columns.values()])
        self._whose = np.repeat(np.arange(len(parts)), [part.shape[1] for part in parts])

    def by_meaning(self, vectors: Vectors) -> Any:
        """What the vectors add: each from the examples' middle, of length 1, times the weights; and each two of the directions
        along which it lies, times theirs."""
        import numpy as np

        found = vectors @ self._weights
        start = self._names + len(self._one_and_squares)
        # |v - m|² = v² - 2 v m + m², and v is of length 1
        lengths = np.sqrt(np.maximum(self._one_and_squares - 2.0 * found[:, self._names : start], 1e-12))
        logits = (found[:, : self._names] - self._centre) / lengths[:, self._whose]
        for columns, number, middle, pairs in self._pairs:
            lies = (found[:, start : start + len(middle)] - middle) / lengths[:, number, None]
            of_pairs = (lies @ pairs).reshape(len(lies), -1, len(middle)) @ lies[:, :, None]
            logits[:, columns] += of_pairs[:, :, 0]
            start += len(middle)
        return logits

    def logits(self, tokens: Sequence[list[str]], vectors: Vectors) -> Any:
        """Of texts by their tokens (`tokens_of`) and the vectors of what they read as."""
        return self.by_meaning(vectors) + self.words.logits_of(tokens) + self.bias

    def harms(self, logits: Any) -> Any:
        """float32[texts, weights]: the share of what is not harmless, by each that was learned (`numbers`)."""
        import numpy as np

        odds = np.exp(logits)
        return 1.0 - odds[:, self._harmless] / np.add.reduceat(odds, self._starts, axis=1)


@cache
def all_learned() -> AllLearned:
    """The one of this process, of what is asked about the texts of most calls."""
    return AllLearned([LEARNED[name].weights for name in sorted(LEARNED)])


@cache
def learned_of_tools() -> AllLearned:
    """The one of this process, of what is asked about results and descriptions of tools: other calls pay nothing for it."""
    return AllLearned([LEARNED_OF_TOOLS[name].weights for name in sorted(LEARNED_OF_TOOLS)])
