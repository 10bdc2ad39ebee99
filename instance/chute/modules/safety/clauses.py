"""How a statement goes against the clauses of a reference that it is about: another word of a group, another number, another name,
or who did it and to whom it was done exchanged."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from math import log

import re2

from instance.chute.modules.safety.clause import RECORD, Clause, bare, clauses_of, pieces_of
from instance.chute.modules.safety.opposed import FEW_HEAVY, UNDOES, belongs, one_says_un, opposes
from instance.chute.modules.safety.record_fields import RecordFields
from instance.chute.modules.safety.stance import counts_unasked, goes_too_far
from instance.chute.modules.safety.stated_numbers import derives, numbers, plain_number
from instance.chute.modules.safety.word_stems import stem

ALIGNED_MIN = 0.5
"""Part of a statement's words, by how rare they are in the reference, from which a clause is what it is about."""
ALIGNED_WELL = 0.75
"""As much, from which a clause is it though a whole sentence may have more."""
SAME_SUBJECT = 0.3
"""What it adds that a clause has what a statement begins with."""
SAME_NUMBER = 0.2
"""What a number that two clauses share adds to how much the one is about the other, and a word of a group that a record has too."""
SURE, FEW, FEW_WORDS = 0.6, 0.34, 0.8
"""A cosine below the first counts for a part where no more than this share of the words stand in the reference."""
SAID = 0.5
"""Support of a statement all of whose words stand in one clause."""
DERIVED_SMALL = 12
"""Numbers up to this may be worked out where a statement says so, though they stand in the reference."""
_LEAVES_OUT = frozenset(
    "outside excluded excludes exclude exempt except without extra separate separately additional missing lacks lack unavailable impossible ineligible forbidden instead unless until "
    "ausgenommen extra separat fehlt exclu exclue sauf excepto excluido escluso".split()
)
_CHANGED = re2.compile(
    r"(?i)\b(?:from|von|de|du|del|da|dal)\s+((?:\S+\s+){0,2}?\S*\d\S*(?:\s\w+)?)\s+(?:to|auf|zum|à|au|a|al)\s+((?:\S+\s+){0,2}?\S*\d\S*)"
)
_INSTEAD = re2.compile(
    r"(?i)((?:\S+\s){0,2}\S*\d\S*(?:\s\w+)?),?\s+(?:statt|instead of|rather than|not|au lieu de|en lugar de|en vez de|anziché|invece di)\s+((?:\S+\s+){0,2}?\S*\d\S*)"
)
_FORMERLY = re2.compile(
    r"(?i)\((?:before|previously|formerly|was|were|until now|up from|down from|bisher|vorher|zuvor|früher|avant|auparavant|antes|prima)\b[^()]*\d[^()]*\)"
)
_ARROW = re2.compile(r"(\d+(?:[.,]\d+)*)\s?(?:->|=>|→)\s?(\d+(?:[.,]\d+)*)")
_NUMBERED = re.compile(r"([^\W\d_]{2,})-?(\d{1,4})\Z")
_MOVES = re2.compile(
    r"(?i)\b(?:mov|rais|chang|lower|increas|reduc|extend|cut|postpon|shift|went|rose|fell|grew|verleg|verschob|erhöh|gesenk|report|déplac|aument|cambi|spost)\w*"
)
_THEN = frozenset(
    "was were had originally previously before former formerly used old until instead ago than earlier war waren früher bisher ursprünglich était étaient avant ancien era antes anteriormente prima".split()
)


class Clauses:
    """A reference's clauses; `against` says how a statement goes against them."""

    def __init__(self, sentences: Sequence[str]) -> None:
        self._clauses = clauses_of(sentences)
        self._least = [clause for clause in self._clauses if len(pieces_of(clause.text)) < 2]
        self._bare = {bare(clause.text) for clause in self._clauses}
        seen = Counter(word for clause in self._clauses for word in clause.words)
        count = len(self._clauses) + 1
        self._rarity = {word: log(1 + count / times) for word, times in seen.items()}
        self._unseen = log(1 + count) / 2
        self._names = frozenset(name for clause in self._clauses for name in clause.capitals)
        self._numbered: dict[str, set[str]] = {}
        for clause in self._clauses:
            for name, number in _numbered(clause):
                self._numbered.setdefault(name, set()).add(number)
        self._fields = RecordFields(sentences)
        self._text = " ".join(sentences)

    def against(self, statement: str) -> str:
        """`negation`, `number` or `name` where the statement takes another word, number or name than what it is about; else empty."""
        if bare(statement) in self._bare:
            return ""
        if counts_unasked(statement, self._clauses):
            return "number"
        whole = Clause(statement)
        for said in map(Clause, pieces_of(statement) or [statement]):
            why = self._against(said, whole)
            if why:
                return why
        return "negation" if self._is_denied(whole) else ""

    def _against(self, said: Clause, whole: Clause) -> str:
        if not said.words:
            return ""
        about = self._about(said)
        agrees = self._fields.agrees(said)
        if agrees is False or (
            agrees is None and about is not None and opposes(said, about, whole, self._beside(about))
        ):
            return "negation"
        mixes = self._fields.mixes(said)
        if mixes:
            return mixes
        too_far = goes_too_far(said, about) if about is not None else ""
        if too_far:
            return too_far
        if self._exchanges(said) or self._turns_round(said) or self._has_other_label(said) or self._is_elsewhere(said):
            return "name"
        if self._is_excluded(said):
            return "negation"
        if self._is_anothers_number(said) or self._was_before(said):
            return "number"
        return "name" if self._is_anothers_deed(said) else ""

    def _beside(self, about: Clause) -> list[Clause]:
        """The other clauses of its sentence."""
        return [each for each in self._least if each.sentence == about.sentence and each is not about]

    def _share(self, said: frozenset[str], clause: Clause) -> float:
        """Part of words, by rarity, that a clause has."""
        weights = {word: self._rarity.get(word, self._unseen) for word in said}
        total = sum(weights.values())
        return sum(weight for word, weight in weights.items() if word in clause.words) / total if total else 0.0

    def _about(self, said: Clause) -> Clause | None:
        """The clause that says most of what a clause of the statement says, groups aside."""
        said_of = said.plain_words or said.words
        if not said_of:
            return None
        for clauses, least in ((self._least, ALIGNED_WELL), (self._clauses, ALIGNED_MIN), (self._least, ALIGNED_MIN)):
            shares = [
                (
                    self._share(said_of | (said.words & clause.words), clause)
                    + self._bonus(said.first, clause)
                    + (SAME_NUMBER if said.numbers & clause.numbers else 0.0)
                    + (SAME_NUMBER if RECORD in clause.text and said.words & clause.words - said_of else 0.0),
                    -len(clause.words),
                )
                for clause in clauses
            ]
            best = max(range(len(shares)), key=shares.__getitem__, default=-1)
            if best >= 0 and shares[best][0] >= least:
                return clauses[best]
        return None

    @staticmethod
    def _bonus(first: str, clause: Clause) -> float:
        """What it adds that a clause has what a statement is about, more where it begins with it."""
        return SAME_SUBJECT if first == clause.first else SAME_SUBJECT / 2 if first in clause.words else 0.0

    @property
    def counts(self) -> set[str]:
        """How many records the reference has, and how many of a kind."""
        return self._fields.counts

    def numbers_about(self, statement: str) -> set[str]:
        """The numbers of the clauses that a statement's clauses are about."""
        about = [self._about(said) for said in map(Clause, pieces_of(statement) or [statement])]
        return {number for clause in about if clause is not None for number in clause.numbers}

    def carried(self, statement: str, cosine: float) -> float:
        """A cosine of a statement, 1 where the reference says it word for word, lowered where few of its words stand in the reference and none of its numbers."""
        if bare(statement) in self._bare:
            return 1.0
        said = Clause(statement)
        if self._fields.agrees(said):
            return max(cosine, SURE)
        if not said.words or cosine >= SURE:
            return cosine
        if said.heavy and any(said.heavy <= clause.words for clause in self._clauses):
            return max(cosine, SAID)
        known = sum(word in self._rarity for word in said.words) / len(said.words)
        return cosine * FEW_WORDS if known <= FEW else cosine

    def known_part(self, statement: str) -> float:
        """The part of a statement's words, but for those that add no fact, that stand in the reference; 1 where there is none."""
        said = Clause(statement)
        heavy = said.heavy
        if self._fields.agrees(said):
            return 1.0
        return len(heavy & self._rarity.keys()) / len(heavy) if heavy else 1.0

    def _exchanges(self, said: Clause) -> bool:
        """Whether it has somebody do what was done to them by the other."""
        if any(said.is_turned(clause) for clause in self._clauses):
            return True
        deeds = said.deeds
        if not deeds:
            return False
        known = {deed for clause in self._clauses for deed in clause.deeds}
        return any(
            (whom, did, who) in known and (who, did, whom) not in known for who, did, whom in deeds if who != whom
        )

    def _turns_round(self, said: Clause) -> bool:
        """Whether it goes from one to the other what goes the other way."""
        own = said.places
        return len(own) > 1 and any(
            one != other and clause.places.get(way) == other and clause.places.get(back) == one
            for clause in self._clauses
            for way, one in own.items()
            for back, other in own.items()
        )

    def _has_other_label(self, said: Clause) -> bool:
        """Whether it says `room C` where the reference knows only `room B`."""
        for word, label in said.labels.items():
            known = {clause.labels[word] for clause in self._clauses if word in clause.labels}
            if known and label not in known:
                return True
        return any(name in self._numbered and number not in self._numbered[name] for name, number in _numbered(said))

    def _is_denied(self, said: Clause) -> bool:
        """Whether it says without a negation what the reference has only behind one, where they share more than that."""
        if said.negates or not UNDOES.isdisjoint(said.tokens):
            return False
        for word in said.words:
            having = [clause for clause in self._least if word in clause.words]
            if (
                having
                and all(word in clause.negated for clause in having)
                and not any(one_says_un(said, clause) for clause in having)
            ):
                near = {each.sentence for each in having}
                about = [clause for clause in self._clauses if clause.sentence in near]
                shared = max((len(said.plain_words & clause.words) for clause in about), default=0)
                if shared > 1 and 2 * shared >= len(said.plain_words):
                    return True
        return False

    def _is_anothers_number(self, said: Clause) -> bool:
        """Whether it gives one of its numbers to what another number belongs to."""
        derived = derives(said.text)
        for number in said.numbers:
            if (derived and float(number) <= DERIVED_SMALL) or number in self.counts:
                continue
            every = [clause for clause in self._least if number in clause.numbers]
            holding = [each for each in every if said.words & (each.words | each.subject)] or every
            others = [clause for clause in self._least if clause.numbers and clause.numbers.isdisjoint(said.numbers)]
            if holding and all(any(belongs(said, other, clause) for other in others) for clause in holding):
                return True
        return False

    def _is_elsewhere(self, said: Clause) -> bool:
        """Whether it has at one place what the reference has at another: both are places that it knows."""
        if not said.spots:
            return False
        named = {stem(name) for name in said.capitals}
        what = said.words - named
        having = [clause for clause in self._least if what <= clause.words] if what else []
        return bool(having) and any(
            name in self._names and all(way in clause.spots and name not in clause.tokens for clause in having)
            for way, name in said.spots.items()
        )

    def _is_excluded(self, said: Clause) -> bool:
        """Whether it counts something in of which the reference only says that it is not ("Hardware is not part of it")."""
        if said.negates or not _LEAVES_OUT.isdisjoint(said.tokens):
            return False
        for word in said.heavy:
            having = [clause for clause in self._least if word in clause.words]
            if having and all(
                word == clause.first and clause.negates and len(clause.heavy - said.heavy) < FEW_HEAVY
                for clause in having
            ):
                theirs = frozenset().union(*(clause.words for clause in having))
                if (said.heavy - theirs) & self._rarity.keys():
                    return True
        return False

    def _was_before(self, said: Clause) -> bool:
        """Whether it gives the number from which something was changed to another, as if it still were so, or has it change back."""
        if self._changes_back(said):
            return True
        about = said.heavy or said.words
        if not said.numbers or not about or not _THEN.isdisjoint(said.tokens):
            return False
        return any(
            said.numbers & old and said.numbers.isdisjoint(new - old) and len(about & clause.words) >= len(about) / 2
            for clause, old, new in self._changes
        )

    def _changes_back(self, said: Clause) -> bool:
        """Whether it goes from one number to another where the reference goes from that to this (`2 -> 8`)."""
        changed = _CHANGED.search(said.text) if said.numbers else None
        if changed is None:
            return False
        old, new = numbers(changed.group(1)), numbers(changed.group(2))
        pairs = {(plain_number(one), plain_number(other)) for one, other in _ARROW.findall(self._text)}
        return any((two, one) in pairs and (one, two) not in pairs for one in old for two in new)

    @cached_property
    def _changes(self) -> list[tuple[Clause, set[str], set[str]]]:
        """The clauses in which a number takes another's place, with the one that is gone and the one that holds."""
        found = []
        for clause in self._clauses:
            instead = _INSTEAD.search(clause.text) if clause.numbers else None
            formerly = _FORMERLY.search(clause.text) if clause.numbers else None
            if formerly is not None:
                rest = clause.text[: formerly.start()] + clause.text[formerly.end() :]
                found.append((clause, numbers(formerly.group()), numbers(rest)))
            if instead is not None:
                found.append((clause, numbers(instead.group(2)), numbers(instead.group(1))))
            elif clause.numbers and _MOVES.search(clause.text) and (changed := _CHANGED.search(clause.text)):
                found.append((clause, numbers(changed.group(1)), numbers(changed.group(2))))
        return found

    def _is_anothers_deed(self, said: Clause) -> bool:
        """Whether it begins with a name of the reference, and what it says of it is said of another one."""
        first = said.tokens[0] if said.tokens else ""
        if first not in said.capitals or first not in self._names or stem(first) != said.first:
            return False
        rest = said.heavy - set(said.begins if said.first in said.begins[:1] else {said.first})
        if not rest:
            return False
        best = max(self._clauses, key=lambda clause: (self._share(rest, clause), -len(clause.words)))
        named = said.capitals if len(said.capitals) == 1 else said.capitals & set(said.tokens[: len(said.begins)])
        if self._share(rest, best) < 0.75 or not named.isdisjoint(best.tokens):
            return False
        if first in best.carried and not best.own_subject:
            return False
        if len(rest) == 1 and set(said.tokens[1:]).isdisjoint(each for each in best.tokens if stem(each) in rest):
            return False
        if any(first.rstrip("s") in token for token in best.tokens):  # "bees" for "honeybees"
            return False
        return best.own_subject and RECORD not in best.text and best.first not in said.words


def _numbered(clause: Clause) -> Iterator[tuple[str, str]]:
    """The names with numbers in a clause: `worker-7` -> `("worker", "7")`."""
    for word in clause.tokens:
        match = _NUMBERED.match(word)
        if match is not None:
            yield match.group(1), match.group(2)
