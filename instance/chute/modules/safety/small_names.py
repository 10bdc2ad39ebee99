"""Names that people write without capitals when they say who they are: "my name is ada quux", "hi i'm carlos"."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

import re2

from instance.chute.modules.safety.found import Found
from instance.chute.modules.safety.name_words import AMBIGUOUS, family_names, given_names

_INTRODUCED = re.compile(
    r"\b(my name(?:['’]?s| is)|i['’]?m|i am|this is|me llamo|ich heiße|je m['’]appelle|mi chiamo) ((?-i:[a-zß-ÿ]{2,20}))(?: ((?-i:[a-zß-ÿ]{2,20})))?\b",
    re.IGNORECASE,
)
_SAYS_WHO = re2.compile(r"(?i:my name|\bi['’]?m |\bi am |this is |llamo |ich hei|appelle |chiamo )")
"""Occurs wherever `_INTRODUCED` does."""
_NO_LOWER_NAME = frozenset(
    "and but or from with the a an my at here in on of by for to calling writing who is was i im also not working trying looking using having living currently please can could would need want "
    "und aus von y soy et je e sono de speaking again yes no ok so just now today about as".split()
)


@cache
def _small_given() -> frozenset[str]:
    return frozenset(name.lower() for name in given_names() - AMBIGUOUS)


def small_names(text: str) -> Iterator[Found]:
    """Names that people write small when they say who they are."""
    if _SAYS_WHO.search(text) is None:
        return
    for match in _INTRODUCED.finditer(text):
        said, first, second = match.groups()
        certain = not said.lower().startswith(("i", "this"))
        certain = certain or said.lower().startswith("ich")
        if first not in _small_given() and not (certain and first.capitalize() in given_names()):
            continue
        with_second = second and second not in _NO_LOWER_NAME and (certain or second.capitalize() in family_names())
        yield Found("name", match.start(2), match.end(3 if with_second else 2))
