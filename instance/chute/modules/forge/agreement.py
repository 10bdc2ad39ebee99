"""Whether several answers say the same: majority for JSON and short answers, nearest to the others for prose."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

import orjson

if TYPE_CHECKING:
    from instance.chute.embedding.embedder import Embedder
    from instance.chute.exchange import Exchange

SHORT_MAX_CHARS = 80
COMPARED_MAX_CHARS = 20_000
_FENCE = re.compile(r"^```[a-zA-Z]*\s*(.*?)\s*```$", re.DOTALL)
_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")


class Verdict(NamedTuple):
    """Place of the answer that stands for all, and how far they agree, 0 to 1. `by` is `majority` or `similarity`."""

    place: int
    agreement: float
    by: str


def majority(texts: Sequence[str]) -> Verdict | None:
    """The answer that most give, of equals the first, when every text is JSON or short: those with the same normalised value are
    counted. `None` where one is prose."""
    values = [normalised(text) for text in texts]
    if not all(value is not None for value in values):
        return None
    value, count = Counter(values).most_common(1)[0]
    return Verdict(values.index(value), count / len(values), "majority")


def medoid(similarity: Sequence[Sequence[float]]) -> Verdict:
    """Of texts with this similarity of each to each (0 to 1) the one with the highest mean to the others, which is the
    agreement."""
    count = len(similarity)
    if count == 1:
        return Verdict(0, 1.0, "similarity")
    means = [(sum(row) - row[index]) / (count - 1) for index, row in enumerate(similarity)]
    best = max(range(count), key=means.__getitem__)
    return Verdict(best, min(1.0, max(0.0, means[best])), "similarity")


def verdict(texts: Sequence[str]) -> Verdict:
    """The answer that most agree with: by majority, else the medoid by the words that texts share."""
    found = majority(texts)
    if found is not None:
        return found
    profiles = [profile(text) for text in texts]
    return medoid([[cosine(one, other) for other in profiles] for one in profiles])


async def verdict_by_meaning(texts: Sequence[str], embedder: Embedder, x: Exchange | None = None) -> Verdict:
    """As `verdict`, with prose compared by the cosine of its embeddings. Raises `EmbedderLate`."""
    found = majority(texts)
    if found is not None:
        return found
    vectors = await embedder.embed([text[:COMPARED_MAX_CHARS] for text in texts], x)
    return medoid((vectors @ vectors.T).tolist())


def normalised(text: str) -> str | None:
    """The value of a JSON or short answer, in a form in which equal values are equal; `None` for prose."""
    text = text.strip()
    fenced = _FENCE.match(text)
    if fenced:
        text = fenced.group(1)
    if text[:1] in ("{", "["):
        try:
            return "json " + orjson.dumps(orjson.loads(text), option=orjson.OPT_SORT_KEYS).decode()
        except orjson.JSONDecodeError:
            pass
    if len(text) > SHORT_MAX_CHARS or "\n" in text:
        return None
    text = " ".join(text.casefold().split()).strip(" .,;:!?\"'`*()")
    if _NUMBER.fullmatch(text):
        return f"number {float(text):g}"
    return f"text {text}"


def profile(text: str) -> dict[str, float]:
    """Words and pairs of words with the square root of how often they occur, scaled to length 1."""
    words = _WORD.findall(text[:COMPARED_MAX_CHARS].casefold())
    counts = Counter(words)
    counts.update(f"{first} {second}" for first, second in pairwise(words))
    length = sqrt(sum(counts.values()))
    return {word: sqrt(count) / length for word, count in counts.items()} if counts else {}


def cosine(one: dict[str, float], other: dict[str, float]) -> float:
    """Similarity of two profiles, 0 to 1: by the words that both use, not by what they mean."""
    if len(other) < len(one):
        one, other = other, one
    return min(1.0, sum(share * other.get(word, 0.0) for word, share in one.items()))
