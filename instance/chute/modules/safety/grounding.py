"""What a prompt gives as reference, what an answer states, and how well the one supports the other."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from instance.chute.answer import JSON
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
_DIGIT = re.compile(r"\d")
_LOWER = re.compile(r"[a-z]+")
_SMALL = {
    word: number
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty".split()
    )
}
_NEGATION = re.compile(r"\b(?:not|no|never|none|nobody|neither|nor|without|cannot|\w+n't)\b", re.IGNORECASE)
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
        self._text = " ".join(sentences)
        self._vectors: Any = None

    @cached_property
    def _numbers(self) -> set[str]:
        return numbers(self._text)

    @cached_property
    def _words(self) -> set[str]:
        return {word.casefold() for word in _WORD.findall(self._text)}

    async def support(
        self, embedder: Embedder, statements: Sequence[str], *, by_number: bool
    ) -> list[tuple[float, list[str]]]:
        """For each statement its support and why it is low: `number`, `name`, `negation`, `meaning`."""
        if self._vectors is None:
            self._vectors = await embedder.embed(self._windows)
        cosines = await embedder.embed(statements) @ self._vectors.T
        judged = []
        for statement, row in zip(statements, cosines, strict=True):
            best = int(row.argmax())
            support, why = max(0.0, float(row[best])), []
            stated = numbers(statement) if by_number else None
            if stated:
                near = " ".join(self._windows[int(place)] for place in row.argsort()[-3:])
                if stated - self._numbers:
                    support *= 0.4
                    why.append("number")
                elif stated - numbers(near):
                    support *= 0.6  # it is somewhere, but of something else
                    why.append("number")
            names = {word.casefold() for word in _NAME.findall(statement)}
            if names and names - self._words - {"i"}:
                support *= 0.5
                why.append("name")
            if support > 0.6 and bool(_NEGATION.search(statement)) != bool(_NEGATION.search(self._windows[best])):
                support *= 0.6
                why.append("negation")
            judged.append((support, why or ["meaning"]))
        return judged


def numbers(text: str) -> set[str]:
    """The numbers of a text in plain form; small ones in words too."""
    found = {plain_number(match.group()) for match in _NUMBER.finditer(text)} if _DIGIT.search(text) else set()
    found.update(str(_SMALL[word]) for word in _SMALL.keys() & _LOWER.findall(text.casefold()) if _SMALL[word] > 1)
    found.discard("")
    return found


def plain_number(shown: str) -> str:
    """A number without grouping, a point before its decimals and no zeros behind them; the last group of three is thousands."""
    text = shown.replace("−", "-").replace("\u00a0", "").replace(" ", "")
    last = max(text.rfind("."), text.rfind(","))
    if last >= 0:
        rest = text[last + 1 :]
        both = "." in text and "," in text
        grouped = len(rest) == 3 and not both and text[:last].lstrip("-") not in ("0", "")
        head = re.sub(r"[.,]", "", text[:last])
        text = head + rest if grouped else f"{head}.{rest}".rstrip("0").rstrip(".")
    return text.lstrip("-").lstrip("0") or "0"
