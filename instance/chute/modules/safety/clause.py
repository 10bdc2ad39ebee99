"""The clauses of a text: what each names, counts, negates, and who does what to whom in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise, product

from instance.chute.modules.safety.exclusive_words import Members, in_group, members
from instance.chute.modules.safety.light_words import LIGHT
from instance.chute.modules.safety.measures import is_unit
from instance.chute.modules.safety.stated_numbers import WORD_NUMBERS, numbers
from instance.chute.modules.safety.word_stems import LITTLE, WORD, stem, words_of

SUBJECT_WORDS = 2
"""Words at a sentence's begin that its later clauses may be about."""
SUBJECT_MAX = 4
"""As many when they are a name."""
NEGATED_WORDS = 2
"""Words behind a negation that it is about."""
NEAR_WORDS = 4
"""Words before and behind a negation that are near it."""
DO_MAX_WORDS = 2
"""Words between who does something and the word for it."""

RECORD = " | "
"""Stands between a record's fields."""
_NEGATES = frozenset(
    "not no never none nobody nothing neither nor without cannot avoid avoids except lack lacks lacking nicht kein keine keinen keiner nie niemals ohne ne jamais sans nunca sin non n senza mai não nem sem niet geen".split()
)
_ARTICLES = frozenset("the a an der die das dem den la le les el los il lo".split())
_SPOTS = {
    word: words.split()[0]
    for words in (
        "in at near im bei en dans a à nel",
        "from aus von de da",
        "for für pour para per",
        "with mit avec con",
    )
    for word in words.split()
}
_WITHOUT = frozenset("without ohne sans sin senza sem zonder except".split())
"""They negate what follows only."""
_WAYS = frozenset("from to by than over against of von nach zu de à a".split())
_BOUNDS = re.compile(
    r"\bno (?:more|less|fewer|later|longer|earlier|sooner) than\b|\bnot (?:only|just|more|less|fewer|later|longer)\b|\bnon solo\b|\bno sólo\b|\bnicht nur\b",
    re.IGNORECASE,
)
"""What is no negation though it has the word of one."""
_DROPS = re.compile(r"\b(?:drop|end|cease|stop|withdr[ae]w)\w* (?:the )?support", re.IGNORECASE)
_PRONOUNS = frozenset(
    "he she it they him her them his its their er sie es ihr sein il elle ils elles ella ellos".split()
)
_POSSESSIVES = frozenset(
    "its his her their our my your sein ihr ihre seine son sa ses leur leurs su sus suo sua".split()
)
_SPLIT = re.compile(
    r"\s*(?:[;\n]|,?\s\b(?:and|but|while|whereas|und|aber|et|mais|y|pero)\b\s)\s*|(?<=\w),\s+", re.IGNORECASE
)
_GOES_ON = re.compile(
    r"(?:which|who|whose|that|where|when|unless|if|as|because|since|although|though|so|after|before|until|than|including|such|like|in|near|on|an|im|en|à|wenn|weil|da|obwohl|parce|puisque|porque|aunque|perché|dont|où|an? \w+ (?:of|by)|to|of|at|from|by|with|for|der|die|das|qui|que)\b",
    re.IGNORECASE,
)
_ARTICLE = re.compile(r"(?:der|die|das|of which|of whom|davon)\b", re.IGNORECASE)
_DIGIT = re.compile(r"\d")
_BETWEEN = re.compile(r"\bbetween\s+\S+\s+and\b", re.IGNORECASE)
_ENDS_SEARCH = frozenset("and or by to with from for of in on at und et y".split())
_BY = frozenset("by von par por da".split())
_BE = frozenset("is are was were be been being got gets get wird wurde wurden".split())
_DONE = re.compile(
    r"\w*(?:ed|[^s]s|beat|won|led|met|hit|cut|put|paid|said|sold|told|held|kept|left|lost|made|sent|built|saw|gave|took|wrote|drove|chose|ought|aught|ade|old|ave|ook|ote|ew|ept|elt|id|ent)\Z"
)


class Clause:
    """A piece of a sentence with what it states."""

    def __init__(
        self, text: str, carried: frozenset[str] = frozenset(), sentence: int = -1, subject: Sequence[str] = ()
    ) -> None:
        """`carried`: the names that its pronouns may stand for; `sentence`: its sentence's number; `subject`: the words that it begins with."""
        self.text = text
        self.sentence = sentence
        self.subject = frozenset(subject)
        shown = words_of(text)
        self.tokens = [word.casefold() for word in shown]
        self.order = tuple(
            stem(word)
            for before, word, form in zip(["", *self.tokens], self.tokens, shown, strict=False)
            if (word not in LITTLE or (len(form) == 1 and form.isupper() and form not in "AI"))
            and not word[0].isdecimal()
            and not word.endswith(("n't", "n’t"))
            and word not in WORD_NUMBERS
            and not (before[:1].isdecimal() and is_unit(word))
        )
        self.words = frozenset(self.order)
        """Stems of the words that say something, but for numbers."""
        self.capitals = frozenset(
            word for word, form in zip(self.tokens, shown, strict=True) if form[0].isupper() and word not in LITTLE
        )
        has_pronoun = not _PRONOUNS.isdisjoint(self.tokens)
        self.own_subject = bool(self.tokens) and _has_own_subject(self.tokens[0], self.capitals)
        """Whether it begins with what it is about."""
        self.carried = carried if has_pronoun else frozenset()

    @cached_property
    def members(self) -> Members:
        """The members of groups that it names."""
        return members(self.tokens)

    @cached_property
    def plain_words(self) -> frozenset[str]:
        """Its words but for those of groups."""
        return frozenset(stem(word) for word in self.tokens if not in_group(word)) & self.words

    @cached_property
    def heavy(self) -> frozenset[str]:
        """Its words but for those that add no fact."""
        light = {stem(word) for word in self.tokens if word in LIGHT}
        return self.words - light

    @cached_property
    def spots(self) -> dict[str, str]:
        """The name behind a word for a place, articles left out: `{"in": "leeds"}`."""
        found: dict[str, str] = {}
        way = ""
        for word in self.tokens:
            if way and word in self.capitals and not in_group(word):
                found.setdefault(way, word)
            if not way or word not in _ARTICLES:
                way = _SPOTS.get(word, "")
        return found

    @cached_property
    def numbers(self) -> set[str]:
        return numbers(self.text)

    @property
    def negates(self) -> bool:
        """Whether it holds a negation; a record does not: it is said of one field, not of the others."""
        if RECORD in self.text:
            return False
        if not any(map(negates, self.tokens)):
            return _DROPS.search(self.text) is not None
        bounds = _BOUNDS.search(self.text)
        return bounds is None or any(map(negates, words_of(_BOUNDS.sub("", self.text.casefold()))))

    @cached_property
    def negated(self) -> frozenset[str]:
        """The words right behind a negation."""
        if RECORD in self.text:
            return frozenset()
        return (
            frozenset(
                stem(word)
                for place, negation in enumerate(self.tokens)
                if negates(negation)
                for word in [each for each in self.tokens[place + 1 :] if each not in LITTLE][:NEGATED_WORDS]
            )
            & self.words
        )

    @cached_property
    def denied(self) -> str:
        """The first word that says something behind the first negation; empty where none does."""
        place = next((place for place, word in enumerate(self.tokens) if negates(word)), len(self.tokens))
        behind = (stem(word) for word in self.tokens[place + 1 :] if word not in LITTLE and word not in LIGHT)
        return next(behind, "")

    @cached_property
    def by_negation(self) -> frozenset[str]:
        """The words near a negation, before it and behind it."""
        return (
            frozenset(
                stem(word)
                for place, negation in enumerate(self.tokens)
                if negates(negation)
                for word in self.tokens[
                    place if negation in _WITHOUT else max(0, place - NEAR_WORDS) : place + 1 + NEAR_WORDS
                ]
            )
            & self.words
        )

    @cached_property
    def labels(self) -> dict[str, str]:
        """The single capitals that stand behind words: `{"room": "b"}`."""
        shown = WORD.findall(self.text)
        return {
            one.casefold(): other
            for one, other in pairwise(shown)
            if len(other) == 1 and other.isupper() and len(one) > 2
        }

    @cached_property
    def places(self) -> dict[str, str]:
        """The name or number behind words for a way, and the name that it begins with: `{"from": "14", "to": "21"}`."""
        found = {"": self.tokens[0]} if self.tokens and self.tokens[0] in self.capitals else {}
        for one, other in pairwise(self.tokens):
            if one in _WAYS and (other in self.capitals or other not in LITTLE):
                found[one] = other
        return found

    @property
    def begins(self) -> tuple[str, ...]:
        """Its first words, with the whole of a name: what it is mostly about."""
        named = {stem(word) for word in self.capitals}
        end = 0
        is_name = bool(self.order) and self.order[0] in named
        while end < min(len(self.order), SUBJECT_MAX) and (
            self.order[end] in named if is_name else end < SUBJECT_WORDS or self.order[end] in named
        ):
            end += 1
        return self.order[:end]

    @cached_property
    def first(self) -> str:
        """The first word that says something, but for those of groups: mostly what it is about."""
        return next((word for word in self.order if word in self.plain_words), "")

    @cached_property
    def deeds(self) -> frozenset[tuple[str, str, str]]:
        """Who, did what, to whom: of each word for a deed the nearest words beside it, a passive turned round."""
        return frozenset(self._deeds())

    def _deeds(self) -> Iterator[tuple[str, str, str]]:
        for place, word in enumerate(self.tokens):
            if word in LITTLE or word in self.capitals or _DONE.match(word) is None:
                continue
            before = self._nearest(place - 1, -1)
            by = self.tokens[place + 1 : place + 2] in (["by"], ["von"], ["par"], ["por"])
            after = self._nearest(place + (2 if by else 1), 1)
            passive = by and not _BE.isdisjoint(self.tokens[max(0, place - 3) : place])
            if not by or passive:
                for one, other in product(before, after):
                    yield (other, stem(word), one) if passive else (one, stem(word), other)

    def is_turned(self, other: Clause) -> bool:
        """Whether the two have the same word between the same names, which stand the other way round."""
        if (
            sum(not in_group(name) for name in self.capitals & other.capitals) < 2
            or self.is_passive != other.is_passive
        ):
            return False
        for place, word in enumerate(self.tokens):
            if word in LITTLE or word in self.capitals or word in LIGHT or word not in other.tokens:
                continue
            at = other.tokens.index(word)
            before, after = self._named(0, place), self._named(place + 1)
            theirs_before, theirs_after = other._named(0, at), other._named(at + 1)
            if (
                before & theirs_after
                and after & theirs_before
                and before.isdisjoint(theirs_before)
                and after.isdisjoint(theirs_after)
            ):
                return True
        return False

    @cached_property
    def is_passive(self) -> bool:
        """Whether something is done by somebody in it."""
        return not _BY.isdisjoint(self.tokens)

    def _named(self, start: int, end: int | None = None) -> frozenset[str]:
        return self.capitals.intersection(self.tokens[start:end])

    def _nearest(self, place: int, step: int) -> list[str]:
        """The stem of the nearest word beside a place that says something, of a name all of them; none behind a preposition."""
        for at in range(place, place + step * (DO_MAX_WORDS + 1), step):
            if not 0 <= at < len(self.tokens) or self.tokens[at] in _ENDS_SEARCH:
                return []
            word = self.tokens[at]
            if word in self.capitals:
                end = at
                while 0 <= end + step < len(self.tokens) and self.tokens[end + step] in self.capitals:
                    end += step
                return [stem(each) for each in self.tokens[min(at, end) : max(at, end) + 1]]
            if word not in LITTLE:
                return [stem(word)]
        return []


def _has_own_subject(first: str, capitals: frozenset[str]) -> bool:
    if first in capitals or first in _ARTICLES or first in _POSSESSIVES:
        return True
    return first not in LITTLE and first not in LIGHT and _DONE.match(first) is None and not first.endswith("ing")


def bare(text: str) -> str:
    """The words of a text without case and marks."""
    return " ".join(WORD.findall(text.casefold()))


def negates(word: str) -> bool:
    """Whether a word, without case, is a negation."""
    return word in _NEGATES or word.endswith(("n't", "n’t"))


def clauses_of(sentences: Sequence[str]) -> list[Clause]:
    """The clauses of sentences that follow each other, and each sentence that has several."""
    found: list[Clause] = []
    carried: frozenset[str] = frozenset()
    for number, sentence in enumerate(sentences):
        whole = Clause(sentence, carried, number)
        pieces = pieces_of(sentence)
        if len(pieces) > 1:
            subject = Clause(pieces[0]).begins
            found += [Clause(each, carried | whole.capitals, number, subject) for each in pieces]
        found.append(whole)
        carried = whole.capitals | whole.carried
    return found


def pieces_of(sentence: str) -> list[str]:
    """A sentence's clauses; one that goes on about the one before ("which …") stands with it."""
    kept = _BETWEEN.sub(lambda match: re.sub(r"\sand\b", "\x00", match.group()), sentence)
    pieces: list[str] = []
    for piece in _SPLIT.split(kept):
        shown = piece.replace("\x00", " and").strip()
        if not shown:
            continue
        counts = pieces and _DIGIT.search(shown) and _DIGIT.search(pieces[-1])  # each of something else
        if pieces and (len(shown.split()) == 1 or (_GOES_ON.match(shown) and not (counts and _ARTICLE.match(shown)))):
            pieces[-1] += ", " + shown
        else:
            pieces.append(shown)
    return pieces
