"""A text as those see it that judge it: its sentences, each two that follow one another, and the whole, each read once for all; the
pairs are reckoned from their sentences.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from instance.chute.modules.safety.all_learned import all_learned
from instance.chute.modules.safety.classifier import SHORT_CHARS, Classifier, readable
from instance.chute.modules.safety.pair_vectors import of_pairs, under
from instance.chute.modules.safety.plain_form import is_ordinary
from instance.chute.modules.safety.word_places import ordinary_tokens, tokens_of
from instance.chute.sentences import split_sentences

if TYPE_CHECKING:
    from instance.chute.embedding.embedder import Vectors
    from instance.chute.exchange import Exchange

SENTENCES_MAX = 12
"""Of a text with more each module chooses itself which are read."""
NARROWLY = 0.999
"""The part of a share that matters under which another one surely does not."""


class Reading:
    """What is read of one or more texts, by rows: what is embedded or reckoned from that, and its tokens."""

    __slots__ = ("_embedded", "_harm", "_harms", "_places", "pairs", "readables", "tokens", "vectors")

    def __init__(self) -> None:
        self.readables: list[str] = []
        """What is to be embedded."""
        self.pairs: dict[int, tuple[int, int]] = {}
        """Rows that are reckoned, each from two others."""
        self.tokens: list[list[str]] = []
        self.vectors: Vectors
        self._embedded: list[int] = []
        self._places: dict[str, int] = {}
        self._harms: Any = None
        self._harm: dict[Classifier, list[float]] = {}

    def row(self, said: str, tokens: list[str] | None = None) -> int:
        """The row of a piece in readable form, whose tokens may be known."""
        row = self._places.get(said)
        if row is None:
            row = self._new(said, tokens)
        elif row not in self.pairs:
            return row
        else:
            del self.pairs[row]
        self.readables.append(said)
        self._embedded.append(row)
        return row

    def pair(self, one: int, other: int, said: str, tokens: list[str] | None = None) -> int:
        """The row of a piece that is two others, which are embedded."""
        row = self._places.get(said)
        if row is None:
            row = self._new(said, tokens)
            self.pairs[row] = one, other
        return row

    def _new(self, said: str, tokens: list[str] | None) -> int:
        row = self._places[said] = len(self._places)
        self.tokens.append(tokens_of(said) if tokens is None else tokens)
        return row

    def take(self, vectors: Vectors) -> None:
        """Take the vectors of `readables`."""
        pairs = self.pairs
        if not pairs:
            self.vectors = vectors
            return
        import numpy as np

        rows = np.empty((len(self.tokens), vectors.shape[1]), np.float32)
        rows[self._embedded] = vectors
        one, other = (list(each) for each in zip(*pairs.values(), strict=True))
        words = [len(tokens) for tokens in self.tokens]
        rows[list(pairs)] = of_pairs(rows[one], rows[other], [words[n] for n in one], [words[n] for n in other])
        self.vectors = rows

    def harm(self, classifier: Classifier) -> list[float]:
        """The share of harm of each row."""
        found = self._harm.get(classifier)
        if found is None:
            if self._harms is None:
                learned = all_learned()
                self._harms = learned.harms(learned.logits(self.tokens, self.vectors))
            found = self._harm[classifier] = classifier.harm_of(self._harms).tolist()
        return found


class SeenText:
    """One text; what is asked for gets its rows."""

    __slots__ = ("_pieces", "_reading", "_tokens", "_windows", "is_ordinary", "sentences", "text")

    def __init__(self, reading: Reading, text: str) -> None:
        self.text = text
        self.sentences = split_sentences(text)
        self.is_ordinary = is_ordinary(text)
        self._reading = reading
        self._tokens = [ordinary_tokens(each) for each in self.sentences] if self.is_ordinary else None
        self._pieces: list[int] | None = None
        self._windows: list[int] | None = None

    def pieces(self) -> list[int]:
        """The rows of the sentences that say something, and of the whole."""
        rows = self._pieces
        if rows is None:
            tokens = self._tokens
            rows = [
                self._row(each, None if tokens is None else tokens[place])
                for place, each in enumerate(self.sentences)
                if len(each) > SHORT_CHARS
            ]
            if len(self.sentences) != 1 and len(self.text) > SHORT_CHARS:
                rows.append(
                    self._row(self.text, None if tokens is None else [word for each in tokens for word in each])
                )
            self._pieces = rows
        return rows

    def every_piece(self) -> list[int]:
        """The rows of the whole and of all sentences, where there are several, of an ordinary text."""
        assert self._tokens is not None
        rows = [self._row(self.text, [word for each in self._tokens for word in each])]
        if len(self.sentences) > 1:
            rows += [
                self._row(each, tokens)
                for each, tokens in zip(self.sentences, self._tokens, strict=True)
                if each.strip()
            ]
        return rows

    def _row(self, piece: str, tokens: list[str] | None) -> int:
        return self._reading.row(readable(piece) if tokens is None else piece.strip(), tokens)

    def windows(self, longest: int) -> list[int]:
        """The rows of the sentences in pieces that are no longer, and of each two that together are not, which are reckoned."""
        rows = self._windows
        if rows is None:
            tokens = self._tokens
            rows = []
            before = ""
            before_row = 0
            before_tokens: list[str] = []
            for place, each in enumerate(self.sentences):
                said = each.strip()
                for start in range(0, len(said), longest):
                    if len(said) - start <= SHORT_CHARS:
                        continue
                    window = said if len(said) <= longest else said[start : start + longest]
                    own: list[str] | None = None
                    if tokens is not None:
                        own = tokens[place] if window is said else ordinary_tokens(window)
                    row = self._row(window, own)
                    rows.append(row)
                    if before and len(before) + len(window) < longest:
                        both = f"{before} {window}"
                        spoken = readable(both) if own is None else both
                        of_both = None if own is None else before_tokens + own
                        rows.append(self._reading.pair(before_row, row, spoken, of_both))
                    before, before_row, before_tokens = window, row, own or []
            self._windows = rows
        return rows


class LearnedLooker:
    """Looks whether what was learned of one kind of harm comes near to any of a text's pieces; `wants_look` is the module's own."""

    def __init__(
        self,
        classifier: Classifier,
        least: float,
        wants_look: Callable[[Exchange], bool],
        *,
        has_more: Callable[[SeenText], bool] | None = None,
        window: int = 0,
    ) -> None:
        """`least`: the share of harm from which the module finds something. `has_more`: whether there is something in the text that
        the module finds otherwise. `window`: read sentences in pairs too, up to this length, in place of the whole text."""
        self._classifier = classifier
        self._least = least * NARROWLY
        self._least_of_pair = under(self._least)
        self.wants_look = wants_look
        self._has_more = has_more
        self._window = window

    def rows(self, seen: SeenText) -> list[int] | None:
        if len(seen.sentences) > SENTENCES_MAX or (self._has_more is not None and self._has_more(seen)):
            return None
        return seen.windows(self._window) if self._window else seen.pieces()

    def is_silent(self, reading: Reading, rows: list[int]) -> bool:
        harm, pairs = reading.harm(self._classifier), reading.pairs
        return all(harm[row] < (self._least_of_pair if row in pairs else self._least) for row in rows)
