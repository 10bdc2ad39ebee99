"""What a prompt gives as reference, what an answer states, and how well the one supports the other."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from instance.chute.answer import JSON
from instance.chute.modules.safety.stated_numbers import follows, numbers
from instance.chute.modules.safety.told import Told
from instance.chute.quick_look import QuickLook
from instance.chute.sentences import split_sentences
from instance.chute.text import request_texts

if TYPE_CHECKING:
    from instance.chute.embedding.embedder import Embedder

REFERENCE_MAX = 400
"""Sentences of reference that are compared with."""
STATEMENTS_MAX = 100
LONG_CHARS = 400
"""A text of the user or system that is this long and states things is taken for reference."""

_MARKED = re.compile(
    r"(?im)^\W{0,6}(?:the )?(?:context|documents?|passages?|sources?|references?|articles?|excerpts?|knowledge(?: base)?|facts?|background|information|text|notes?|search results?|"
    r"transcript|report|data|kontext|quelle[n]?|contexte?o?)\b[^\n:]{0,40}:|<(?:context|documents?|doc|passages?|sources?|article|reference|knowledge|search_results?)\b[^>]*>|"
    r"\b(?:based on|according to|using|given|use only|answer (?:only )?from|refer to) (?:only )?(?:the |this |these )?(?:following|provided|given|above|below|context|document|text|passage|source|article|information)|"
    r"\bcontext (?:says|states|tells)\b|\"\"\"|^\s*\[\d{1,3}\]\s+\S"
)
_ASKS = re.compile(r"\?\s*[\"')\]]*\s*\Z")
_ORDERS = re.compile(
    r"\A\W*(?:please|answer|summari[sz]e|explain|write|tell|list|describe|use|give|translate|you (?:are|must|should|can|will)|your|do not|don't|be|always|never|reply|respond|"
    r"i (?:am|want|need|have|would)|i'm|can|could|what|who|when|where|why|how|which|is|are|does|did)\b",
    re.IGNORECASE,
)
_SAYS_NOTHING = re.compile(
    r"\A\W*(?:sure|of course|certainly|absolutely|great question|i hope|hope this|let me know|feel free|here(?:'s| is| are)|happy to|sorry|i(?:'m| am) (?:sorry|afraid|not sure|happy|glad|unable|an? (?:ai|assistant))|"
    r"i (?:can(?:'t|not)?|could|would|don't|do not|think|believe|hope|understand|apologi[sz]e|see)|thank|thanks|hello|hi|yes|no|ok(?:ay)?|you(?:'re| are) welcome|please|if you|would you|do you|does that|in summary|note that i|"
    r"the (?:context|document|text|passage|source|article|information)[^.]{0,40} (?:does not|doesn't|do not)|unfortunately|according to what i|echo)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_][\w'’\-]*")
_NUMBER = re.compile(r"(?<![\w.])[-−]?\d+(?:[.,\u00a0 ]\d{3})*(?:[.,]\d+)?(?!\w)")
_NAME = re.compile(r"(?<![.!?:\"“\n])(?<!\A)(?<=\s)[A-ZÀ-Þ][\wÀ-ÿ'’\-]+")
_MARKS = QuickLook(_MARKED)


def references(req: JSON) -> list[str]:
    """The sentences that an answer may rest on: tool results, passages that are marked as such, long texts that state things.

    Empty when the prompt gives nothing to rest on.
    """
    found: list[str] = []
    messages = req.get("messages")
    for message in messages if type(messages) is list else [{"role": "user", "content": req.get("prompt")}]:
        if type(message) is not dict or message.get("role") == "assistant":
            continue
        text = "\n".join(request_texts({"messages": [message]}))
        if not text:
            continue
        if message.get("role") in ("tool", "function"):
            found += _pieces(text)
        else:
            is_marked = bool(_MARKS(text)) and _MARKED.search(text) is not None
            if is_marked or len(text) >= LONG_CHARS:
                stating = _stating(text, is_marked=is_marked)
                if is_marked or len(stating) >= 3:
                    found += stating
    return list(dict.fromkeys(found))[:REFERENCE_MAX]


def _pieces(text: str) -> list[str]:
    return [piece.strip() for piece in split_sentences(text) if piece.strip()]


def _stating(text: str, *, is_marked: bool) -> list[str]:
    if is_marked:
        text = _MARKED.sub(lambda match: "\n\n" if match.group().endswith((":", ">", '"""')) else match.group(), text)
    return [piece for piece in _pieces(text) if not _ASKS.search(piece) and not _ORDERS.match(piece)]


def is_statement(sentence: str) -> bool:
    """Whether a sentence of an answer states something that could be wrong."""
    words = _WORD.findall(sentence)
    if _ASKS.search(sentence) or sentence.rstrip().endswith(":") or sentence.lstrip().startswith(("```", "#")):
        return False
    if _SAYS_NOTHING.match(sentence) and not _NUMBER.search(sentence):
        return False
    return len(words) >= 3 or (len(words) >= 1 and _NUMBER.search(sentence) is not None)


class Reference:
    """Reference sentences with their vectors; `support` is how far they carry a sentence, 0 to 1, and what it lacks."""

    def __init__(self, sentences: Sequence[str]) -> None:
        self._sentences = list(sentences)
        # What a statement says may stand in two sentences that follow each other.
        self._windows = [*self._sentences, *(f"{a} {b}" for a, b in itertools.pairwise(sentences))]
        self._whole = Told(" ".join(sentences))
        self._told: dict[str, Told] = {}
        self._vectors: Any = None

    def _of(self, sentence: str) -> Told:
        told = self._told.get(sentence)
        if told is None:
            told = self._told[sentence] = Told(sentence)
        return told

    async def support(
        self, embedder: Embedder, statements: Sequence[str], *, by_number: bool
    ) -> list[tuple[float, list[str]]]:
        """For each statement its support and why it is low: `number`, `name`, `negation`, `meaning`."""
        if self._vectors is None:
            self._vectors = await embedder.embed(self._windows)
        cosines = await embedder.embed(statements) @ self._vectors.T
        judged = []
        for statement, row in zip(statements, cosines, strict=True):
            support, why = max(0.0, float(row.max())), []
            told, whole = Told(statement), self._whole
            if by_number and (told.numbers or told.counted or told.shares):
                new = told.numbers - whole.numbers
                if any(not self._follows(each, statement) for each in new) or self._counts_others(told):
                    support *= 0.4
                    why.append("number")
                elif new:
                    support = max(support, 0.5)
                elif told.numbers - numbers(" ".join(self._windows[int(place)] for place in row.argsort()[-3:])):
                    support *= 0.5  # it is somewhere, but of something else
                    why.append("number")
            names = {word.casefold() for word in _NAME.findall(statement)}
            if names and names - whole.words - {"i"}:
                support *= 0.45
                why.append("name")
            nearest = row[: len(self._sentences)].argsort()[-3:]
            closest = max((self._of(self._sentences[int(place)]) for place in nearest), key=told.shared_with)
            if told.opposes(closest):
                support *= 0.45
                why.append("negation")
            judged.append((support, why or ["meaning"]))
        return judged

    def _follows(self, number: str, statement: str) -> bool:
        return follows(number, statement, self._whole.numbers, self._whole.text)

    def _counts_others(self, told: Told) -> bool:
        """Whether it gives another number of something that the reference counts, or another share."""
        for noun, given in told.counted.items():
            known = self._whole.counted.get(noun)
            if known and not given & known and not all(self._follows(each, told.text) for each in given):
                return True
        return bool(told.shares and self._whole.shares) and all(
            abs(one - other) >= 1 for one in told.shares for other in self._whole.shares
        )
