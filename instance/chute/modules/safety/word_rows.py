"""What the words of texts add to the logits of all that was learned; what each word adds is kept, for most words come again."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import Any

from instance.chute.modules.safety.word_places import (
    BEGIN,
    BUCKETS,
    END,
    FIRST,
    PLACE_BITS,
    SECOND,
    TOKENS_MAX,
    hash_of,
    run_places,
    tokens_of,
    word_of,
)

WORDS_KEPT = 1 << 13
"""Words of which is kept what they add, 300 bytes each: at least twice as many as one text has."""
ROUND_TOKENS = TOKENS_MAX
"""Words of several texts that are looked up together."""


class WordRows:
    """`logits(texts)` answers float32[texts, names]: the names of everything learned side by side, in `columns` by weights.

    A text's words and pairs of words are one part: the sum of their rows, divided by the root of the sum of their squared
    rarities. The letters are another: each word's runs, of length 1 where they are `by_word`, divided by the root of the sum of
    their squared lengths. May be used on any thread.
    """

    def __init__(self, weights: Sequence[Path]) -> None:
        import numpy as np

        tables, rarities, by_word = [], [], []
        self.columns: dict[Path, slice] = {}
        start = 0
        for path in weights:
            with np.load(path) as kept:
                rarity = kept["rarity"].astype(np.float32)
                tables.append(kept["words"] * kept["scale"] * rarity[:, None])
                rarities.append(np.square(rarity))
                by_word.append(bool(kept["by_word"]))
            self.columns[path] = slice(start, start + tables[-1].shape[1])
            start = self.columns[path].stop
        self._names = start
        self._width = start + len(tables)
        self._by_word = np.array(by_word)
        squares = np.repeat(np.arange(start, self._width), [each.shape[1] for each in tables])
        self._squares = np.hstack([squares, squares + self._width])
        """For each name the columns in which its squared rarities stand, of words and of runs."""
        table = np.hstack([*tables, np.stack(rarities, axis=1)], dtype=np.float32)
        self._of_words, self._of_runs = table[:BUCKETS].copy(), table[BUCKETS:].astype(np.float16)
        self._rows = np.zeros((WORDS_KEPT, 2 * self._width), np.float32)
        self._hashes = np.zeros(WORDS_KEPT, np.uint32)
        self._places: dict[str, int] = {}
        self._lock = Lock()
        self._forget()

    @property
    def words_kept(self) -> int:
        """Of how many words is kept what they add."""
        return len(self._places)

    def logits(self, texts: Sequence[str]) -> Any:
        """What the words of texts add."""
        return self.logits_of([tokens_of(text) for text in texts])

    def logits_of(self, texts: Sequence[list[str]]) -> Any:
        """The same of texts whose tokens are known."""
        import numpy as np

        ends = list(accumulate(map(len, texts)))
        if not ends:
            return np.zeros((0, self._names), np.float32)
        if ends[-1] <= ROUND_TOKENS:
            with self._lock:
                return self._round(texts)
        rounds: list[list[list[str]]] = [[]]
        size = 0
        for tokens in texts:
            size += len(tokens)
            if size > ROUND_TOKENS and rounds[-1]:
                rounds.append([])
                size = len(tokens)
            rounds[-1].append(tokens)
        with self._lock:
            return np.vstack([self._round(each) for each in rounds])

    def _round(self, texts: Sequence[list[str]]) -> Any:
        import numpy as np

        flat: list[str] = []
        for tokens in texts:
            flat.append(BEGIN)
            flat += tokens
            flat.append(END)
        known: list[Any] = list(map(self._places.get, flat))
        if None in known:
            known = self._learn(flat)
        places = np.array(known, np.int64)
        numbers = np.arange(len(texts))
        text = numbers.repeat([len(tokens) + 2 for tokens in texts])
        # Each word of a text once, and each two that follow one another.
        keys = _each_once(text * WORDS_KEPT + places)
        sums = np.add.reduceat(self._rows[keys & WORDS_KEPT - 1], keys.searchsorted(numbers * WORDS_KEPT), axis=0)
        hashes = self._hashes[places]
        pairs = (hashes[:-1] * np.uint32(FIRST) ^ hashes[1:] * np.uint32(SECOND)) >> 32 - PLACE_BITS
        keys = _each_once(
            (text[:-1] * BUCKETS + pairs)[places[1:] != 0]
        )  # none of one text's end and another's beginning
        width, names = self._width, self._names
        sums[:, :width] += np.add.reduceat(
            self._of_words[keys & BUCKETS - 1], keys.searchsorted(numbers * BUCKETS), axis=0
        )
        roots = np.sqrt(np.maximum(sums[:, self._squares], 1e-6))  # a text without words has no runs
        sums[:, :names] /= roots[:, :names]
        sums[:, width : width + names] /= roots[:, names:]
        return sums[:, :names] + sums[:, width : width + names]

    def _learn(self, flat: Sequence[str]) -> list[int]:
        """The places of the tokens, of which some are new."""
        places = self._places
        missing = [token for token in dict.fromkeys(flat) if token not in places]
        if len(places) + len(missing) > WORDS_KEPT:
            self._forget()
            missing = [token for token in dict.fromkeys(flat) if token not in places]
        for token in missing:
            self._keep(token)
        return [places[token] for token in flat]

    def _keep(self, token: str) -> None:
        import numpy as np

        place = self._places[token] = len(self._places)
        word = word_of(token)
        self._hashes[place] = of_word = hash_of(word)
        row = self._rows[place]
        row[: self._width] = self._of_words[of_word % BUCKETS]
        of_runs = self._of_runs[run_places(word)].sum(axis=0, dtype="float32")
        squares = np.where(self._by_word, of_runs[self._names :], 1.0)
        of_runs[self._names :] /= squares
        of_runs[: self._names] /= np.sqrt(squares)[self._squares[: self._names] - self._names]
        row[self._width :] = of_runs

    def _forget(self) -> None:
        """Begin anew with the two that every text has, which add nothing by themselves."""
        self._places.clear()
        for place, mark in enumerate((BEGIN, END)):
            self._places[mark] = place
            self._hashes[place] = hash_of(mark)
            self._rows[place] = 0


def _each_once(keys: Any) -> Any:
    """The keys in order, each once."""
    import numpy as np

    keys.sort()
    new = np.empty(len(keys), bool)
    new[0] = True
    np.not_equal(keys[1:], keys[:-1], out=new[1:])
    return keys[new]
