"""What must be the same in two questions that an embedding takes for one: numbers, negation, names, quotations, opposites, and
the words that carry the question, in their order.

An embedding of a sentence hears what it is about, and hardly whether it asks for it or against it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

LENGTH_RATIO_MAX = 2.0
_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_QUOTED = re.compile(
    r"\"([^\"\n]{1,200})\"|“([^”\n]{1,200})”|«([^»\n]{1,200})»|`([^`\n]{1,200})`|(?<!\w)'([^'\n]{2,200})'(?!\w)"
)
_SENTENCE_START = re.compile(r"(?:^|[.!?:;\n]\s*|[-*]\s+)[\"'“‘(]*\Z")
NEGATIONS = frozenset(
    [
        "no",
        "not",
        "never",
        "without",
        "none",
        "nobody",
        "nothing",
        "neither",
        "nor",
        "cannot",
        "can't",
        "don't",
        "doesn't",
        "didn't",
        "isn't",
        "aren't",
        "wasn't",
        "won't",
        "shouldn't",
        "wouldn't",
        "couldn't",
        "except",
        "avoid",
        "unless",
        "nicht",
        "kein",
        "keine",
        "keinen",
        "ohne",
        "nie",
        "niemals",
        "pas",
        "sans",
        "jamais",
        "sin",
        "nunca",
    ]
)
_OPPOSITES = (
    "enable disable", "increase decrease", "raise lower", "buy sell", "open close", "start stop", "begin end", "install uninstall",
    "import export", "before after", "maximum minimum", "max min", "first last", "oldest newest", "left right", "upload download",
    "encrypt decrypt", "encode decode", "add remove", "add delete", "create delete", "win lose", "hot cold", "best worst",
    "cheap expensive", "cheapest dearest", "pros cons", "advantages disadvantages", "benefits risks", "lock unlock", "block unblock",
    "allow forbid", "accept reject", "accept decline", "send receive", "lend borrow", "up down", "hide show", "mute unmute",
    "subscribe unsubscribe", "connect disconnect", "activate deactivate", "login logout", "male female", "parent child", "more less",
    "most least", "above below", "over under", "top bottom", "inside outside", "push pull", "merge split", "gain loss", "gain lose",
    "ascending descending", "horizontal vertical", "public private", "input output", "read write", "positive negative",
    "summer winter", "morning evening", "day night", "north south", "east west", "wife husband", "mother father", "son daughter",
    "deposit withdraw", "deposit withdrawal", "hire fire", "compress decompress", "zip unzip", "follow unfollow", "safe dangerous",
    "allow block", "allow deny", "approve reject", "legal illegal", "alive dead", "early late", "earliest latest", "longest shortest", "tallest shortest", "largest smallest",
    "biggest smallest", "highest lowest", "fastest slowest", "strongest weakest", "warm cool", "fill empty", "freeze thaw",
    "why how", "when where", "who what", "include exclude", "pause resume", "wake sleep", "young old", "inflate deflate",
    "credit debit", "employer employee", "landlord tenant", "teacher student", "sync async", "synchronous asynchronous",
)  # fmt: skip
OPPOSITE: dict[str, frozenset[str]] = {}
for _pair in _OPPOSITES:
    _one, _other = _pair.split()
    OPPOSITE[_one] = OPPOSITE.get(_one, frozenset()) | {_other}
    OPPOSITE[_other] = OPPOSITE.get(_other, frozenset()) | {_one}


_LITTLE_WORDS = (
    "a an the this that these those my your our their his her its i you we they he she it me us them do does did "
    "can could may might  should would will shall is are was were be been am to of in on at for with by from as and "
    "or please there so just some any  into onto another what's who's how's it's i'm i'd i've you're "
)
LITTLE = frozenset(_LITTLE_WORDS.split())
"""Words that seldom carry a question: one may stand for another."""
STEM_CHARS = 5


class Traits(NamedTuple):
    """What of a text the guards compare."""

    length: int
    numbers: tuple[str, ...]
    negations: frozenset[str]
    names: tuple[str, ...]
    quoted: frozenset[str]
    words: frozenset[str]
    order: tuple[str, ...]
    """All words as they come."""


@lru_cache(maxsize=4096)
def traits(text: str) -> Traits:
    """The traits of a text."""
    words = [(match.group(), match.start()) for match in _WORD.finditer(text)]
    lowered = [word.lower().replace("’", "'") for word, _ in words]
    names = tuple(
        word.removesuffix("'s").removesuffix("’s").casefold()
        for word, place in words
        if word[0].isupper()
        and word not in ("I", "I'm", "I’m")
        and not _SENTENCE_START.search(text[max(0, place - 8) : place])
    )
    quoted = frozenset(next(filter(None, match.groups())).strip().casefold() for match in _QUOTED.finditer(text))
    return Traits(
        len(text.strip()),
        tuple(_NUMBER.findall(text)),
        frozenset(word for word in lowered if word in NEGATIONS or word.endswith("n't")),
        names,
        quoted,
        frozenset(word.removesuffix("'s") for word in lowered),
        tuple(lowered),
    )


def difference(one: str, other: str) -> str:
    """Why two texts do not ask the same, whatever their embeddings say; empty when nothing is in the way."""
    a, b = traits(one), traits(other)
    if max(a.length, b.length) > LENGTH_RATIO_MAX * max(1, min(a.length, b.length)):
        return "length"
    if a.numbers != b.numbers:
        return "numbers"
    if bool(a.negations) != bool(b.negations):
        return "negation"
    if not _names_agree(a, b):
        return "names"
    if a.quoted != b.quoted:
        return "quoted"
    if any(OPPOSITE[word] & (b.words - a.words) for word in a.words - b.words if word in OPPOSITE):
        return "opposites"
    if a.order != b.order and sorted(a.order) == sorted(b.order):
        return "order"  # who does what to whom was exchanged
    return "word" if _one_word_is_another(a.order, b.order) else ""


def _names_agree(a: Traits, b: Traits) -> bool:
    """Whether each name of one is in the other too, in the same order where both write them as names."""
    if any(name not in b.words for name in a.names) or any(name not in a.words for name in b.names):
        return False
    both = set(a.names) & set(b.names)
    return [name for name in a.names if name in both] == [name for name in b.names if name in both]


def _one_word_is_another(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether the texts are the same but for a single word that carries the question: another thing is asked for."""
    if len(one) != len(other):
        return False
    apart = [(a, b) for a, b in zip(one, other, strict=True) if a != b and not (a in LITTLE and b in LITTLE)]
    if len(apart) != 1:
        return False
    a, b = apart[0]
    return a[:STEM_CHARS] != b[:STEM_CHARS]
