"""Where it says little that a statement's meaning is far from the reference: what is true in other words often is."""

from __future__ import annotations

from instance.chute.modules.safety.clause import negates
from instance.chute.modules.safety.word_stems import words_of

LONG_WORDS = 10
"""A statement of so many words sums up several sentences, and is near to none of them."""
KNOWN_MOSTLY = 0.55
"""Part of a statement's words, but for those that add no fact, that stand in the reference: from here on it is about the same."""
REASONS = frozenset("because due owing weil wegen parce cause porque culpa debido perché causa".split())
_CAUSES = REASONS | frozenset("caused causes reason reasons grund raison razón motivo".split())
_SUPPOSES = frozenset(
    "if when whenever until unless whether should would could might wenn falls sollte sollten würde würden könnte könnten si quand lorsque devrait devraient pourrait pourraient faudrait "
    "cuando debería deberían podría podrían convendría quando dovrebbe potrebbe".split()
)


def is_weak(statement: str, known: float, *, anchored: bool, english: bool = True) -> bool:
    """Whether a low support by meaning alone is no ground to doubt a statement. `known`: the part of its words that the reference has;
    `anchored`: it gives a number or a name of the reference's; `english`: the model knows the words of other languages less, and one that shares none says little. A reason that is not given stays in doubt."""
    words = [word.casefold() for word in words_of(statement)]
    if not _SUPPOSES.isdisjoint(words):
        return True
    gives_reason = not _CAUSES.isdisjoint(words) and not any(map(negates, words))
    return not gives_reason and (
        anchored or known >= KNOWN_MOSTLY or (not english and not known) or len(words) >= LONG_WORDS
    )
