"""What a prompt gives as reference, what an answer states, and how well the one supports the other."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from instance.chute.answer import JSON
from instance.chute.modules.safety.clauses import Clauses
from instance.chute.modules.safety.exclusive_words import is_day, is_month
from instance.chute.modules.safety.general_knowledge import is_general
from instance.chute.modules.safety.json_records import records
from instance.chute.modules.safety.measures import Measures
from instance.chute.modules.safety.near_sentences import near_sentences
from instance.chute.modules.safety.new_words import NewWords
from instance.chute.modules.safety.stated_numbers import NUMBER, counted, dated, numbers, share_follows
from instance.chute.modules.safety.table_records import without_tables
from instance.chute.modules.safety.told import Told
from instance.chute.modules.safety.weak_meaning import is_weak
from instance.chute.quick_look import QuickLook
from instance.chute.sentences import split_sentences
from instance.chute.system_message import SYSTEM_ROLES, without_own_notes
from instance.chute.text import request_texts

if TYPE_CHECKING:
    from instance.chute.embedding.embedder import Embedder, Vectors
    from instance.chute.exchange import Exchange

REFERENCE_MAX = 400
"""Sentences of reference that are compared with."""
STATEMENTS_MAX = 100
WINDOWS_MAX = 120
"""Windows of a reference that are embedded, some 5 ms each."""
TOOL_ROLES = ("tool", "function")
KNOWN_MAX, KNOWN_MAX_CHARS = 64, 32_000
"""Systems' texts of which it is known what they give, and the longest that is kept."""
NEAREST = 3
"""Texts of a reference that a statement's numbers are compared with."""
NEW_THING, NEW_WORD = 0.3, 0.25
"""What a thing that the reference knows nothing of takes from a statement's support, in English and in others."""
LEAST_ALIKE, LITTLE_NEW = 0.3, 0.05
"""A statement that is a little like the reference and has hardly a new word is told in other words."""
NEW_DOING = 0.1
"""As much, a word for what is done."""
DOUBTED = 0.45
"""What is left of a statement's support where something in it speaks against it."""
LONG_CHARS = 400
"""A text of the user or system that is this long and states things is taken for reference."""

_MATERIAL = (
    r"(?:the )?(?:context|documents?|passages?|sources?|references?|articles?|excerpts?|knowledge(?: base)?|facts?|background|information|text|notes?|search results?|"
    r"transcript|report|data|kontext|quelle[n]?|contexte?o?)"
)
_TAG = r"<(?:context|documents?|doc|passages?|sources?|article|reference|knowledge|search_results?)"
_OTHER_MARKS = (
    r"\b(?:based on|according to|using|given|use only|answer (?:only )?from|refer to) (?:only )?(?:the |this |these )?(?:following|provided|given|above|below|context|document|text|passage|source|article|information)",
    r"\bcontext (?:says|states|tells)\b",
    r"\"\"\"",
    r"^\s*\[\d{1,3}\]\s+\S",
)
_MARKED = re.compile(
    "(?im)" + "|".join((rf"^\W{{0,6}}{_MATERIAL}\b[^\n:]{{0,40}}:", rf"{_TAG}\b[^>]*>", *_OTHER_MARKS))
)
MARK_BEGINS = tuple(re.compile("(?im)" + each) for each in (rf"^\W{{0,6}}{_MATERIAL}", _TAG, *_OTHER_MARKS))
_ASKS = re.compile(r"\?\s*[\"')\]]*\s*\Z")
_ORDERS = re.compile(
    r"\A\W*(?:please|answer|summari[sz]e|explain|write|tell|list|describe|use|give|translate|you (?:are|must|should|can|will)|your|do not|don't|be|always|never|reply|respond|"
    r"i (?:am|want|need|have|would)|i'm|can|could|what|who|when|where|why|how|which|is|are|does|did)\b",
    re.IGNORECASE,
)
_SAYS_NOTHING = re.compile(
    r"\A\W*(?:sure|of course|certainly|absolutely|great question|i hope|hope this|let me know|feel free|here(?:'s| is| are)|happy to|sorry|i(?:'m| am) (?:sorry|afraid|not sure|happy|glad|unable|an? (?:ai|assistant))|"
    r"i (?:can(?:'t|not)?|could|would|don't|do not|think|believe|hope|understand|apologi[sz]e|see)|thank|thanks|hello|hi|(?:yes|no|ok(?:ay)?)\W*\Z|(?:ok(?:ay)?[,.!])|you(?:'re| are) welcome|please|if you|would you|do you|does that|you (?:could|might|may want)|consider|try|make sure|(?:i|we) (?:recommend|suggest|advise)|in summary|note that i|i['’](?:d|ll) |it (?:would|might) (?:make sense|be (?:wise|better|best|worth|sensible))|in (?:your|this|that) case,? i|mieux vaut|il vaut mieux|n['’]hésitez|je (?:peux|vous|pourrais)|conviene|le recomiendo|puedo|si quiere|am besten|es empfiehlt sich|ich (?:kann|empfehle|würde)|"
    r"the (?:context|document|text|passage|source|article|information)[^.]{0,40} (?:does not|doesn't|do not)|unfortunately|according to what i|echo)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_][\w'’\-]*")
_NAME = re.compile(r"[A-ZÀ-Þ](?<=[^\S\n].)(?!-)[\wÀ-ÿ'’\-]+")
"""A capital in the middle of a line begins one."""
_WEEKEND = frozenset(("sat", "sun"))
_OWNS = re.compile(r"['’](?:s|d|m|ll|ve|re)?\Z")
"""What stands behind a name, or `I`, that is no part of it."""
_CODE = re.compile(r"\b[A-Z]{2,3}\b")
_LINE_BEGINS = re.compile(
    r"\n(?=[^\S\n]*(?:[A-ZÀ-Þ][\w .\-]{0,24}:\s|\[?\d{4}-\d\d-\d\d[ T]|\[?\d\d?:\d\d\b|\[\d{1,3}\]\s))"
)
"""Lines of a chat, a log or a form: each says something of its own."""
_MARKS = QuickLook(MARK_BEGINS)
_IN_GERMAN = re.compile(
    r"\b(?:der|die|das|den|dem|ein|eine|ist|sind|und|nicht|wird|im|zum|zur|beträgt|wurde|wurden|hat|haben|auf|beide|aus|bei|nach|für|mit|pro|vom|beim|kein|keine)\b",
    re.IGNORECASE,
)
"""Where any noun has a capital."""


class Given(NamedTuple):
    """One text of a prompt, which may be something to rest on; `tool`: a tool said it, `system`: it instructs the model."""

    text: str
    tool: bool = False
    system: bool = False


class _Known:
    """The sentences that systems' texts give to rest on: the same ones come with every call. Bounded; for any thread."""

    def __init__(self) -> None:
        self._sentences: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self.get = self._sentences.get

    def keep(self, text: str, sentences: Iterable[str]) -> None:
        if len(text) <= KNOWN_MAX_CHARS:
            self._sentences[text] = tuple(sentences)
            if len(self._sentences) > KNOWN_MAX:
                with suppress(KeyError):
                    self._sentences.popitem(last=False)


_KNOWN = _Known()


def given_texts(req: JSON) -> list[Given]:
    """The texts of a prompt that there may be something to rest on in; empty when there is nothing. What there is, `references`
    finds out; one look over short texts says here that there is nothing."""
    short = short_texts(req)
    return [] if short is not None and not any(map(_MARKS, short)) else every_text(req)


def short_texts(req: JSON) -> list[str] | None:
    """The texts of a prompt in which there is something to rest on only where it is marked (`MARK_BEGINS`); `None` where there may
    be some in others."""
    messages = req.get("messages")
    if type(messages) is not list:
        messages = [{"role": "user", "content": req.get("prompt")}]
    short: list[str] = []
    for message in messages:
        if type(message) is not dict:
            continue
        role = message.get("role")
        if role == "assistant":
            continue
        text = _text_of(message)
        is_system = role in SYSTEM_ROLES
        known = _KNOWN.get(text) if is_system else None
        if known is None and text:
            if len(text) >= LONG_CHARS or role in TOOL_ROLES:
                return None
            if is_system and not _MARKS(text):
                _KNOWN.keep(text, ())  # it comes with every call
            else:
                short.append(text)
        elif known:
            return None
    return short


def every_text(req: JSON) -> list[Given]:
    """All texts of a prompt that an answer may rest on."""
    messages = req.get("messages")
    if type(messages) is not list:
        messages = [{"role": "user", "content": req.get("prompt")}]
    return [
        Given(text, message.get("role") in TOOL_ROLES, message.get("role") in SYSTEM_ROLES)
        for message in messages
        if type(message) is dict and message.get("role") != "assistant" and (text := _text_of(message))
    ]


def _text_of(message: JSON) -> str:
    text = message.get("content")
    return text if type(text) is str and len(message) == 2 else "\n".join(request_texts({"messages": [message]}))


def references(given: Iterable[Given]) -> list[str]:
    """The sentences that an answer may rest on: tool results, passages that are marked as such, long texts that state things.

    Empty when the prompt gives nothing to rest on.
    """
    found: dict[str, None] = {}
    for text, tool, system in given:
        sentences: Sequence[str] | None = _KNOWN.get(text) if system else None
        if sentences is None:
            sentences = (
                (records(text) or _pieces(text)) if tool else _given_by(without_own_notes(text) if system else text)
            )
            if system:
                _KNOWN.keep(text, sentences)
        found.update(dict.fromkeys(sentences))
    return list(found)[:REFERENCE_MAX]


def _given_by(text: str) -> list[str]:
    is_marked = bool(_MARKS(text)) and _MARKED.search(text) is not None
    if not is_marked and len(text) < LONG_CHARS:
        return []
    stating = _stating(text, is_marked=is_marked)
    return stating if is_marked or len(stating) >= 3 else []


def _pieces(text: str) -> list[str]:
    plain, rows = without_tables(text)
    lines = _LINE_BEGINS.sub("\n\n", plain)
    return [*(piece.strip() for piece in split_sentences(lines) if piece.strip()), *rows]


def _stating(text: str, *, is_marked: bool) -> list[str]:
    if is_marked:
        text = _MARKED.sub(lambda match: "\n\n" if match.group().endswith((":", ">", '"""')) else match.group(), text)
    return [piece for piece in _pieces(text) if not _ASKS.search(piece) and not _ORDERS.match(piece)]


def is_statement(sentence: str) -> bool:
    """Whether a sentence of an answer states something that could be wrong."""
    plain = sentence.strip()
    if plain.endswith(":") or plain.startswith(("```", "#")) or ("?" in plain and _ASKS.search(sentence)):
        return False
    words = len(_WORD.findall(sentence))
    if words < 3 or _SAYS_NOTHING.match(sentence):
        return words > 0 and NUMBER.search(sentence) is not None
    return True


def _windows(sentences: list[str], near: list[int]) -> list[str]:
    """The near sentences, and each two of which one is near: what a statement says may stand in two that follow each other."""
    pairs = {first for place in near for first in (place - 1, place) if 0 <= first < len(sentences) - 1}
    return [*(sentences[place] for place in near), *(" ".join(sentences[first : first + 2]) for first in sorted(pairs))]


class Reference:
    """Reference sentences; how far they carry statements, 0 to 1, and what each of those lacks."""

    def __init__(self, sentences: Sequence[str], statements: Sequence[str]) -> None:
        """`statements`: those that are going to be judged. Of a long reference only what shares words with them is compared with
        them by meaning and by clauses."""
        self._sentences = [dated(sentence) for sentence in sentences]
        near = list(range(len(self._sentences)))
        if 2 * len(near) > WINDOWS_MAX:
            near = near_sentences(self._sentences, statements, WINDOWS_MAX // 3)
        self._statements = list(statements)
        self.windows = _windows(self._sentences, near)
        """The texts whose vectors are compared with the statements'."""
        self._whole = Told(" ".join(self._sentences))
        near_ones = [self._sentences[place] for place in near]
        self._clauses = Clauses(near_ones)
        self._new_words = NewWords(near_ones, self._whole.text, statements)
        self.texts = [*self.windows, *self._statements, *self._new_words.texts]
        """Those, the statements and their new words: what `judged` needs the vectors of."""
        self._measures = Measures(self._whole.text)
        self._codes = {code.casefold() for code in _CODE.findall(self._whole.text)}

    async def support(
        self, embedder: Embedder, *, by_number: bool, x: Exchange | None = None
    ) -> list[tuple[float, list[str]]]:
        """For each statement its support and why it is low: `number`, `name`, `negation`, `meaning`."""
        return await embedder.embed_then(self.texts, lambda vectors: self.judged(vectors, by_number=by_number), x)

    def judged(self, vectors: Vectors, *, by_number: bool) -> list[tuple[float, list[str]]]:
        """As `support`, from the vectors of `texts`."""
        count = len(self.windows)
        end = count + len(self._statements)
        cosines = vectors[count:end] @ vectors[:count].T
        new = self._new_words.judged(vectors[end:])
        found = []
        bests = cosines.max(axis=1).tolist()
        for statement, row, best, novelty in zip(self._statements, cosines, bests, new, strict=True):
            told = Told(statement)
            support, why = self._clauses.carried(statement, max(0.0, best)), []
            converted = self._measures.converted(statement) if by_number else set()
            if by_number and (told.has_numbers or converted or self._measures.contradicts(statement)):
                factor, least = self._by_numbers(told, row, converted)
                if factor < 1:
                    why.append("number")
                support = max(best, support, least) if least else support * factor
            if not why and best >= LEAST_ALIKE and novelty.things + novelty.doings < LITTLE_NEW:
                support = max(support, DOUBTED)
            if novelty.english:
                support -= NEW_THING * novelty.things + NEW_DOING * novelty.doings
            else:
                support -= NEW_WORD * novelty.things
            against = self._clauses.against(statement)
            if against and against not in why and (by_number or against != "number"):
                why.append(against)
                support *= DOUBTED
            if "name" not in why and self._names_others(statement):
                why.append("name")
                support *= DOUBTED
            if not why and support < DOUBTED and (is_general(statement) or self._says_little(told, novelty.english)):
                support = DOUBTED
            found.append((support, why or ["meaning"]))
        return found

    def _says_little(self, told: Told, english: bool) -> bool:
        """Whether a low support by meaning alone is no ground to doubt it."""
        anchored = not told.numbers.isdisjoint(self._whole.numbers) or any(map(self._whole.says, _names(told.text)))
        return is_weak(told.text, self._clauses.known_part(told.text), anchored=anchored, english=english)

    def _names_others(self, statement: str) -> bool:
        """Whether it holds a name that stands nowhere in the reference."""
        return any(
            not self._whole.says(name) and not self._is_code(name) and not self._has_day(name)
            for name in _names(statement)
        )

    def _has_day(self, name: str) -> bool:
        """Whether it is a weekday or month that the reference writes another way (`Sun`, `Tuesdays`), or one between two of its months."""
        if not is_day(name):
            return False
        written = {
            each[:3] for each in map(str.casefold, _WORD.findall(self._whole.text)) if is_day(each) or len(each) == 3
        }
        if name[:3] in _WEEKEND and "weekend" in self._whole.text.casefold():
            return True
        return name[:3] in written or (is_month(name) and sum(map(is_month, written)) > 1)

    def _counted_beside(self, noun: str) -> set[str]:
        """The numbers of the sentences that count something: "nine members voted for it, two against"."""
        return {number for each in self._sentences if noun in counted(each) for number in numbers(each)}

    def _is_code(self, name: str) -> bool:
        """Whether the reference has a code for a name, of its first letter and others in their order: `PT` for Portugal."""
        return any(code[0] == name[0] and _holds_in_order(name, code) for code in self._codes)

    def _by_numbers(self, told: Told, row: Any, converted: set[str]) -> tuple[float, float]:
        """What a statement's numbers, some of them in other units, make of its support: a factor, and what it is at least."""
        whole = self._whole
        stated = told.numbers - converted
        new = stated - whole.numbers - self._clauses.counts
        if self._measures.contradicts(told.text) or any(not whole.implies(each, told) for each in new):
            return 0.4, 0.0
        if self._counts_others(told, converted):
            return 0.4, 0.0
        if not new:
            nearest = numbers(" ".join([self.windows[place] for place in _nearest(row)]))
            if any(not whole.implies(each, told) for each in stated - nearest - self._clauses.counts):
                return 0.5, 0.0  # it is somewhere, but of something else
        return 1.0, 0.5 if told.numbers or converted else 0.0

    def _counts_others(self, told: Told, converted: set[str]) -> bool:
        """Whether it gives another number of something that the reference counts, or another share."""
        about: set[str] | None = None
        for noun, given in told.counted.items():
            known = self._whole.counted.get(noun)
            if known and not given & known:
                given = given - self._counted_beside(noun)
                about = self._clauses.numbers_about(told.text) if about is None else about
                given = given - about
            if (
                known
                and given
                and not given & converted
                and not given & known
                and not all(self._whole.implies(each, told) for each in given)
            ):
                return True
        return (
            bool(told.shares and self._whole.shares)
            and all(abs(one - other) >= 1 for one in told.shares for other in self._whole.shares)
            and not any(self._whole.nears(share, told) for share in told.shares)
            and not any(share_follows(share, self._whole.numbers) for share in told.shares)
        )


def _names(statement: str) -> set[str]:
    """The names in a statement, without case; none of a German one, where any noun has a capital."""
    if _IN_GERMAN.search(statement):
        return set()
    return {_OWNS.sub("", word.casefold()) for word in _NAME.findall(statement)} - {"i"}


def _holds_in_order(name: str, code: str) -> bool:
    place = -1
    for letter in code:
        place = name.find(letter, place + 1)
        if place < 0:
            return False
    return True


def _nearest(row: Any) -> list[int]:
    """The places of the three largest, the largest last."""
    if len(row) <= NEAREST:
        return list(row.argsort().tolist())
    places = row.argpartition(-NEAREST)[-NEAREST:]
    return list(places[row[places].argsort()].tolist())
