"""Statements about things in general ("Dams hold back water"), which need no reference: nothing in them is about the case at hand."""

from __future__ import annotations

import re

from instance.chute.modules.safety.word_stems import LITTLE, words_of

_ABOUT_THE_CASE = frozenset(
    "the this that these it its they their them he she his her him we our us you your i my here there now today also all every each most many some several few no none only already still yet "
    "will would can could may might must should shall have has had was were did been being always never not too well welcome paid "
    "les des sont est los las son der die das ist sind".split()
)
_PAST = re.compile(r"\w{3,}ed\Z")
_ENDS_SINGULAR = ("ss", "us", "is")
_COLLECTIVE = frozenset(
    "aircraft people children sheep fish cattle water milk bread steel glass wood sugar salt".split()
)


def is_general(statement: str) -> bool:
    """Whether an English statement speaks of a kind of thing, at any time: a bare plural or `a …` at its begin, the present, no number,
    no name, nothing that points to something."""
    if any(map(str.isdigit, statement)):
        return False
    words = words_of(statement)
    small = [word.casefold() for word in words]
    if len(small) < 4 or not _ABOUT_THE_CASE.isdisjoint(small) or any(map(_PAST.match, small)):
        return False
    if any(word[0].isupper() for word in words[1:]):
        return False
    if small[0] in ("a", "an"):
        return "is" in small
    return any(
        word in _COLLECTIVE or (word.endswith("s") and not word.endswith(_ENDS_SINGULAR)) for word in small[:2]
    ) and (small[0] not in LITTLE)
