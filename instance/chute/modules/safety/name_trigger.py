"""The expression for the shared matcher that occurs wherever there may be a name."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from instance.chute.modules.safety.name_columns import HEADER
from instance.chute.modules.safety.name_shapes import FAMILY_BEGINS, FAMILY_ENDS
from instance.chute.modules.safety.name_words import (
    BEFORE,
    CLOSINGS,
    FAMILY_FIRST,
    GREETINGS,
    KIN,
    LABELS,
    LOWER_TITLES,
    RELATIVES,
    ROLES,
    SAYS,
    TITLES,
    WEAK_LABELS,
    family_names,
    given_names,
)

UP = r"[A-Z\x{c0}-\x{de}\x{100}-\x{17d}\x{1a0}\x{1af}\x{1e00}-\x{1eff}]"
_SPACE = r"[\s\x{a0}]"
GAP = f"{_SPACE}{_SPACE}?{_SPACE}?"
"""As much as may stand between a name and what is read of the words before it (`name_context.GAP_MAX_CHARS`)."""
_LOW = r"[a-z\x{df}-\x{17f}]"
ABBREVIATION_MAX_CHARS = 3
ANNOUNCES = 2.25
"""So many points has a word that makes a name of one that no list knows."""


@cache
def trigger() -> str:
    """RE2 expression that occurs wherever there is a name: one of the listed, or a word that makes a name of what follows it.

    Words that only speak for a listed name are not in it; what stands between is written without repeats, as the matcher puts an
    expression that reaches elsewhere."""
    labels = LABELS | WEAK_LABELS | ROLES | GREETINGS | CLOSINGS
    announcing = (
        {phrase for phrase, points in BEFORE.items() if points >= ANNOUNCES}
        | labels
        | LOWER_TITLES
        | {"named", "called"}
    )
    announcing |= {word[0].upper() + word[1:] for word in announcing}
    announcing |= {word.upper() for word in ROLES if len(word) <= ABBREVIATION_MAX_CHARS}
    given = given_names()
    ascii_first = "|".join(sorted(name for name in given if name[0].isascii()))
    others = "|".join(sorted(name for name in given if not name[0].isascii()))
    return "|".join(
        (
            rf"\b(?:{ascii_first})(?:$|[^a-z])",
            f"(?:{others})",
            rf"\b(?:{_any(FAMILY_FIRST)})[ \x{{a0}}]{UP}",
            rf"[a-z,-]{GAP}(?:{_any(family_names())})(?:$|[^a-z])",
            rf"\b(?:{_any(TITLES | KIN)})(?:\.[ \x{{a0}}]?|[ \x{{a0}}]){UP}",
            rf"\b[A-Z]\.[ \x{{a0}}]?{UP}",
            rf"(?:\b|_)(?:{_any(announcing)})(?:_?[Nn]ame)?(?:\*\*)?(?:[.,:!](?:\*\*)?{_SPACE}?{_SPACE}?{_SPACE}?|{GAP})[\"']?{UP}",
            rf"\b(?:{_any(RELATIVES | {word.capitalize() for word in RELATIVES})}),?{GAP}{UP}",
            rf"\b(?:{_any(RELATIVES | ROLES)})[ \x{{a0}}](?:is|was){GAP}{UP}",
            rf"{UP}[\w\x{{df}}-\x{{17f}}'’-]+[ \x{{a0}}]{UP}[\w\x{{df}}-\x{{17f}}'’-]+[ \x{{a0}}](?:{_any(SAYS)}|was born|will call|called me|signed the|a dit|ha detto|hat gesagt)\b",
            rf"[\"']\s?:\s?\[?[\"']{UP}",
            r"\w@",
            rf"{_LOW}[ \x{{a0}}](?:(?:{_any(FAMILY_BEGINS)})[\pL'’-]|{UP}{_LOW}+(?:{_any(FAMILY_ENDS)})(?:$|[^a-z]))",
            HEADER,
            r"(?i:my name(?:['’]?s| is)|me llamo|ich heiße|m['’]appelle|mi chiamo) \pL",
            r"(?i:\bi['’]?m|\bi am|this is) [a-z]+(?:$|[,.!;]| from| and| here)",
        )
    )


def _any(words: Iterable[str]) -> str:
    return "|".join(word.replace(".", r"\.") for word in sorted(words))
