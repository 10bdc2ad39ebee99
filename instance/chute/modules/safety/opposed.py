"""Whether two clauses that are about the same say the opposite, or give something to another thing than the other does."""

from __future__ import annotations

from collections.abc import Sequence

from instance.chute.modules.safety.clause import RECORD, Clause
from instance.chute.modules.safety.exclusive_words import OPEN, ORDINALS, PAIRS, WEEKDAYS, in_group

SAME_WORDS = 0.6
"""Part of a clause's words in another from which the two say the same, or its opposite."""
FEW_HEAVY = 2
"""Words that say something in a clause of which one tells that it is what a statement is about."""
UNDOES = frozenset(
    "forbidden prohibited banned verboten untersagt interdit interdite prohibido prohibida vietato vietata prevented eliminated avoided missing lacking absent fehlt fehlen manque manquent falta faltan rather instead postponed deferred shelved aplazó aplazado aplazada aplaza verschoben vertagt reporté reportée rinviato rinviata outside excluded excludes omitted exempt waived ausgeschlossen exclu excluido escluso".split()
)
"""Words by which a clause says what another says with a negation."""
ONLY = frozenset("only solely exclusively nur ausschließlich seulement uniquement solo sólo solamente soltanto".split())
_SIDES = frozenset("before after vor nach avant après antes después prima dopo".split())
_MENDS = frozenset(
    "fixed fix fixes resolved solved behoben behebt corrigé résolu corregido resuelto risolto corretto".split()
)
"""The same where a clause begins with one: `Fixed: crash when …`."""


def opposes(said: Clause, about: Clause, whole: Clause, around: Sequence[Clause]) -> bool:
    """Whether a clause names another member of a group, or negates what both say; of two opposites a negated one is the other."""
    turned = (said.negates != about.negates) != one_says_un(said, about)
    if said.negates != about.negates == whole.negates:
        turned = False  # its other clause has the negation
    days, is_open = (
        about.members.get(group, frozenset()) and said.members.get(group, frozenset()) - about.members[group]
        for group in (WEEKDAYS, OPEN)
    )
    if days and (is_open or turned):
        return False  # closed on the other days than it is open on
    for group, named in said.members.items():
        known = about.members.get(group)
        if known and named.isdisjoint(known):
            if not turned and any(_has_all(said, each) for each in around):
                continue  # its sentence tells of a change: closed, then opened again
            if group == ORDINALS and not (_SIDES & {*said.tokens}).issubset(about.tokens):
                continue  # what is before the second is the first
            if group not in PAIRS or not turned:
                return True
            turned = False
    if turned and said.negates != about.negates:
        one, other = (said, about) if said.negates else (about, said)
        turned = (
            not _one_undoes(said, about)
            and not one.by_negation.isdisjoint(said.heavy & about.words)
            and _denies_what_is_said(one, other)
        )
    if not turned or (said.numbers and about.numbers and said.numbers.isdisjoint(about.numbers)):
        return False  # of another number it may be so
    sure = len(said.heavy) + len(said.numbers & about.numbers) > 1 or len(about.heavy) <= FEW_HEAVY
    return sure and len(said.heavy & about.words) >= SAME_WORDS * len(said.heavy)


def _has_all(said: Clause, clause: Clause) -> bool:
    """Whether a clause that goes on about the one before has the members of all groups that another names."""
    goes_on = bool(clause.tokens) and in_group(clause.tokens[0])
    return goes_on and all(named <= clause.members.get(group, frozenset()) for group, named in said.members.items())


def one_says_un(said: Clause, about: Clause) -> bool:
    """Whether a word of one is the other's with a negating prefix ("unknown" for "known")."""
    return any(
        prefix + word in other.words
        for one, other in ((said, about), (about, said))
        for word in one.words
        if len(word) > 3
        for prefix in ("un", "in", "im", "dis", "non")
    )


def _denies_what_is_said(one: Clause, other: Clause) -> bool:
    """Whether what `one` negates may be what `other` says: not where that holds for a few only, or counts none."""
    if not ONLY.isdisjoint(one.tokens) or not ONLY.isdisjoint(other.tokens):
        return False
    if RECORD in other.text and "0" in other.numbers:
        return False
    return not one.denied or one.denied in other.words


def _one_undoes(said: Clause, about: Clause) -> bool:
    """Whether one says with a word ("outside", "Fixed: …") what the other says with a negation."""
    one, other = (said, about) if said.negates else (about, said)
    return one.negates and not (UNDOES.isdisjoint(other.tokens) and (not other.tokens or other.tokens[0] not in _MENDS))


def belongs(said: Clause, other: Clause, holding: Clause) -> bool:
    """Whether what is said of the number in `holding` is about `other`, which has a number of its own."""
    held = holding.words | holding.subject  # a later clause may go on about what its sentence is about
    if held >= other.words or other.words >= holding.words:
        return False
    theirs = (said.words & (other.words - held)) - said.negated
    if not theirs:
        return False
    ours = said.words & (held - other.words)
    siblings = holding.sentence == other.sentence
    if not ours:
        return siblings or RECORD in holding.text or bool(holding.words & other.words)
    if not siblings:
        return False
    if said.first in theirs and holding.first not in said.words:
        return True
    return any(
        stand in said.words and _slot(other, stand) & _slot(holding, instead)
        for stand in theirs
        for instead in holding.words - other.words - said.words
    )


def _slot(clause: Clause, word: str) -> set[tuple[int, str]]:
    """What stands beside a word, before (-1) or behind (1) it."""
    found = set()
    for place, each in enumerate(clause.order):
        if each == word:
            if place:
                found.add((-1, clause.order[place - 1]))
            if place + 1 < len(clause.order):
                found.add((1, clause.order[place + 1]))
    return found
