"""What a prompt gives as reference, what an answer states, and how well the one supports the other."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from instance.chute.answer import JSON
from instance.chute.modules.safety.stated_numbers import counted, follows, numbers, shares
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
_NEGATION = re.compile(
    r"\b(?:not|no|never|none|nobody|nothing|neither|nor|without|cannot|\w+n['’]t|nicht|kein\w*|nie(?:mals)?|ne|jamais|aucune?|pas|nunca|ningun\w*|sin|non|senza)\b",
    re.IGNORECASE,
)
_SCALES = tuple(
    (re.compile(rf"\b(?:{one})\b", re.IGNORECASE), re.compile(rf"\b(?:{other})\b", re.IGNORECASE))
    for one, other in (
        (
            r"grew|grown|rose|risen|increas\w+|gain\w*|climbed|went up|doubled|improv\w+",
            r"fell|fallen|drop\w*|decreas\w+|declin\w+|lost|shrank|shrunk|down|halved|worsen\w*",
        ),
        (r"free|free of charge|kostenlos|gratis|gratuit\w*", r"costs?|fee|charged?|kostet|pa(?:y|id)|euros?|dollars?"),
        (r"allowed|permitted|welcome", r"forbidden|prohibited|banned"),
        (r"severe|serious", r"mild|moderate|light"),
        (r"minimum|at least", r"maximum|at most|up to"),
        (r"won|victory", r"defeat\w*|was beaten"),
        (r"largest|biggest|highest|longest|most", r"smallest|lowest|shortest|least"),
        (r"success\w*|succeed\w*|passed", r"fail\w*"),
        (r"daily|per day|a day", r"weekly|per week|a week|monthly|per month"),
        (r"before", r"after"),
    )
)
"""Opposite ends of what is often told the wrong way round."""
_SAME_WORDS = 0.6
"""Share of a statement's words in a reference sentence from which the two say the same, or its opposite."""


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
    def _counted(self) -> dict[str, set[str]]:
        return counted(self._text)

    @cached_property
    def _shares(self) -> set[float]:
        return shares(self._text)

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
            support, why = max(0.0, float(row.max())), []
            if by_number:
                near = " ".join(self._windows[int(place)] for place in row.argsort()[-3:])
                new = numbers(statement) - self._numbers
                if any(not follows(each, statement, self._numbers, self._text) for each in new) or self._counts_others(
                    statement
                ):
                    support *= 0.4
                    why.append("number")
                elif not new and numbers(statement) - numbers(near):
                    support *= 0.5  # it is somewhere, but of something else
                    why.append("number")
                elif new:
                    support = max(support, 0.5)
            if {word.casefold() for word in _NAME.findall(statement)} - self._words - {"i"}:
                support *= 0.45
                why.append("name")
            nearest = [self._sentences[int(place)] for place in row[: len(self._sentences)].argsort()[-3:]]
            closest = max(nearest, key=partial(_shared, statement))
            negated = bool(_NEGATION.search(statement)) != bool(_NEGATION.search(closest))
            if (negated and _shared(statement, closest) >= _SAME_WORDS) or _opposed(statement, closest):
                support *= 0.45
                why.append("negation")
            judged.append((support, why or ["meaning"]))
        return judged

    def _counts_others(self, statement: str) -> bool:
        """Whether it gives another number of something that the reference counts, or another share."""
        for noun, given in counted(statement).items():
            known = self._counted.get(noun)
            if (
                known
                and not given & known
                and not all(follows(each, statement, self._numbers, self._text) for each in given)
            ):
                return True
        stated = shares(statement)
        return bool(stated and self._shares) and all(abs(one - other) >= 1 for one in stated for other in self._shares)


def _opposed(statement: str, sentence: str) -> bool:
    """Whether the one speaks of one end of a scale, and the other only of the other."""
    if bool(_NEGATION.search(statement)) != bool(_NEGATION.search(sentence)):
        return False
    for one, other in _SCALES:
        ends = tuple(bool(end.search(text)) for text in (statement, sentence) for end in (one, other))
        if ends in ((True, False, False, True), (False, True, True, False)):
            return True
    return False


def _shared(statement: str, sentence: str) -> float:
    """The share of the statement's words that stand in the sentence too, but for negations; 0 to 1."""
    own = {word.casefold() for word in _WORD.findall(_NEGATION.sub(" ", statement))}
    other = {word.casefold() for word in _WORD.findall(sentence)}
    return len(own & other) / len(own) if own else 0.0
