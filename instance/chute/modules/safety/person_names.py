"""Names of people in text, without a model: runs of words with capitals, judged by what the words are and by what stands around them.

No single sign decides. What the words of a run are (`name_shapes`, `name_words`) and what its neighbours are (`name_context`) is worth
points, and a run is a name from `ENOUGH` on. Where one is found, it speaks for the same word elsewhere and for what is listed with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from instance.chute.modules.safety.found import Found
from instance.chute.modules.safety.name_columns import cells
from instance.chute.modules.safety.name_context import LINK_MAX_CHARS, before, begins, behind, linked
from instance.chute.modules.safety.name_shapes import (
    INITIAL,
    JOINTS,
    LARGE_JOINTS,
    RUN,
    SURNAMES_TOO,
    Word,
    is_known_given,
    is_surname,
    runs,
    words_of,
)
from instance.chute.modules.safety.name_stops import QUALIFIERS, STOPS, THINGS
from instance.chute.modules.safety.name_trigger import ANNOUNCES
from instance.chute.modules.safety.name_words import (
    AMBIGUOUS,
    ASKED,
    BEFORE,
    CLOSINGS,
    FAMILY_FIRST,
    GREETINGS,
    KIN,
    LABELS,
    NAMES_THING,
    NO_PERSON,
    OWNERS,
    PLACES,
    RELATIVES,
    ROLES,
    TITLES,
    family_names,
    given_names,
)
from instance.chute.modules.safety.small_names import small_names

ENOUGH = 3.0
BESIDE = 1.5
"""What a found name beside it is worth to a given name."""
_OF_WHAT = re.compile(r" (?:if|whether|to|about|that|for|when|how|why|not to)\b")
"""Behind somebody who is asked or told."""
_NOTHING = (STOPS - AMBIGUOUS) | THINGS
"""Words that are no name when they stand alone or together."""
ACTED = 2.5
"""What is behind a full name is worth when it says what only people do, or gives an address of theirs."""
LISTED = 2.0
"""What several words are worth of which one is known as somebody's name."""
IN_A_PLACE = -0.5
"""What "in" and "of" say against a single name."""
HOPELESS = -1.0
NO_SINGLE = ROLES | RELATIVES | GREETINGS | CLOSINGS | LABELS
"""What people are, not what they are called: "Dear Recruiter"."""


class _Run(NamedTuple):
    """Words that may be a name, and the points of what they are and of what stands around them."""

    start: int
    end: int
    words: list[Word]
    of_words: float
    before: float
    behind: float

    @property
    def points(self) -> float:
        return self.of_words + self.before + self.behind


def find_names(text: str) -> Iterator[Found]:
    """Full names and single ones, without the titles before them, in order; they may overlap. Linear in the text."""
    found: list[Found] = []
    sure: list[_Run] = []
    undecided: list[_Run] = []
    last: _Run | None = None
    thing_end = 0
    for match in runs(text):
        shown = match.group()
        run = None if _is_nothing(shown) else _judged(text, match, last)
        if run is None:
            last = None
            thing_end = match.end() if shown.rpartition(" ")[2] in THINGS else 0
            continue
        if thing_end and linked(text, thing_end, run.start) and "\n" not in text[thing_end : run.start]:
            run = run._replace(before=min(run.before, -1.5))
        if last is not None and _is_turned(text, last, run):
            if found and found[-1].start == last.start:
                found.pop()
            if undecided and undecided[-1] is last:
                undecided.pop()
            found.append(Found("name", last.start, run.end))
            last = run
            continue
        points = run.points if _is_announced(run) else HOPELESS + 1.0
        if points >= ENOUGH:
            found.append(Found("name", run.start, run.end))
            sure.append(run)
        elif points > HOPELESS:
            undecided.append(run)
        last = run
    found += cells(text, _fits)
    if undecided and found:
        found += _by_others(text, undecided, sure, found)
    found += small_names(text)
    yield from sorted(found)


def _is_announced(run: _Run) -> bool:
    """Whether one thing makes a name of it, be it a word of it: many weak signs do not, where no list knows any of its words."""
    if run.before >= ANNOUNCES or run.behind >= ACTED:
        return True
    first = run.words[0].text
    if len(run.words) == 1:
        return is_known_given(first) or first in family_names()
    return run.of_words >= LISTED or INITIAL.fullmatch(first) is not None


def _is_nothing(shown: str) -> bool:
    """Whether the run is no name whatever stands around it: most are such."""
    return shown in _NOTHING or shown in TITLES or (" " in shown and _NOTHING.issuperset(shown.split(" ")))


def _judged(text: str, match: re.Match[str], last: _Run | None) -> _Run | None:
    """The run without what is before and behind the name; none where it is none for certain."""
    words = words_of(match)
    first, lead = _lead(text, words)
    if first == len(words) or words[first].text in NAMES_THING:
        return None
    led_by = words[first - 1].text.rstrip(".") if first else ""
    if led_by in NAMES_THING and led_by != "The":
        return None
    kept = _kept(words[first:], titled=led_by in TITLES)
    if not kept:
        return None
    start, end = kept[0].start, kept[-1].end
    if text[start:end] in NO_PERSON or f"{led_by} {kept[0].text}" in NO_PERSON:
        return None
    moved = start != words[0].start
    ahead = lead or _before(text, words[0].start, end, last, kept[0].text, len(kept))
    if moved and not lead and ahead <= 0:
        ahead += 0.5
    if ahead == ASKED and _OF_WHAT.match(text, end) is not None:
        ahead += 1.0
    of_words = _of_words([word.text for word in kept], not moved and begins(text, start))
    return _Run(start, end, kept, of_words, ahead, behind(text, end, len(kept), kept[0].text))


def _lead(text: str, words: list[Word]) -> tuple[int, float]:
    """How many of the first words are no name but stand before one (a title, a greeting, an order), and what they are worth."""
    lead = 0.0
    for first, (word, start, _) in enumerate(words):
        lower = word.lower()
        goes_on = first + 1 < len(words)
        if word.rstrip(".") in TITLES:
            lead = 4.0
        elif word in KIN and goes_on:
            lead = 2.5
        elif lower in GREETINGS and goes_on and word not in given_names():
            lead = 3.0 if begins(text, start) else 0.0
        elif (lower in ROLES or lower in RELATIVES) and goes_on:
            lead = max(lead, 2.5)
        elif lower in OWNERS and goes_on:
            lead = 0.0
        elif word in STOPS and word not in AMBIGUOUS:
            lead = -2.5 if word == "The" else -2.0 if word in QUALIFIERS else BEFORE.get(lower, 0.0) if goes_on else 0.0
            lead = 0.0 if lead == 0.5 else lead
        elif word in STOPS and goes_on and words[first + 1].text in given_names():
            lead = 0.0  # "Will Sarah come?"
        elif not (word.isupper() and len(word) > 1 and word[-1] != "." and not _is_loud_surname(words, first)):
            return first, lead
    return len(words), lead


def _is_loud_surname(words: list[Word], first: int) -> bool:
    """DUPONT Jean."""
    return len(words) == first + 2 and is_known_given(words[first + 1].text) and len(words[first].text) > 3


def _kept(words: list[Word], *, titled: bool) -> list[Word]:
    """As many of the words as may be of one name; none where a thing is named after someone."""
    end = len(words)
    plain_given = is_known_given(words[0].text) and words[0].text not in AMBIGUOUS
    for place, (word, _, _) in enumerate(words[1:], 1):
        if (word in JOINTS or word in LARGE_JOINTS) and place + 1 < len(words):
            continue
        if word in THINGS and not (plain_given and len(words) == 2 and word in SURNAMES_TOO):
            if not titled:
                return []
            end = place
            break
        loud = word.isupper() and len(word) > 1 and word[-1] != "." and not is_surname(word.capitalize())
        if loud or (
            (word in STOPS or word in TITLES)
            and word not in given_names()
            and not (plain_given and word in SURNAMES_TOO)
        ):
            end = place
            break
    while end and (
        words[end - 1].text in JOINTS
        or words[end - 1].text in LARGE_JOINTS
        or (end > 1 and INITIAL.fullmatch(words[end - 1].text))
    ):
        end -= 1
    kept = words[:end]
    if not kept or kept[0].text.islower() or (kept[0].text in THINGS and not _is_family_first(kept)):
        return []
    if len(kept) == 1 and kept[0].text.lower() in NO_SINGLE:
        return []
    # What stands before a given name is a part of the name only when it may be one itself: "Yesterday Ada Quux".
    starts_name = is_known_given(kept[0].text) or kept[0].text in FAMILY_FIRST or INITIAL.fullmatch(kept[0].text)
    return kept[1:] if len(kept) > 2 and not starts_name and is_known_given(kept[1].text) else kept


def _is_family_first(words: list[Word]) -> bool:
    """Park Ji-hoon."""
    return len(words) == 2 and words[0].text in FAMILY_FIRST and ("-" in words[1].text or is_known_given(words[1].text))


def _of_words(words: list[str], at_begin: bool) -> float:
    """What the words themselves are worth; those that begin a sentence have a capital anyway."""
    first, final = words[0], words[-1]
    known, ambiguous = is_known_given(first), first in AMBIGUOUS
    if len(words) == 1:
        if known and ambiguous:
            return 0.0 if at_begin else 0.5 if first in PLACES else 1.0
        if known:
            return 1.5 if at_begin else 3.0
        return (0.5 if is_surname(first) else 0.0) + (0.0 if at_begin else 0.25)
    surname = is_surname(final.capitalize() if known and final.isupper() else final)
    points = 0.5
    if known and not ambiguous:
        points = 4.0 if surname else 2.5 if final in SURNAMES_TOO and final in THINGS else 3.0
    elif known:
        points = 3.0 if surname or (len(words) > 2 and is_known_given(words[1])) else 2.0 if at_begin else 2.5
    elif INITIAL.fullmatch(first):
        points = 2.5 if surname else 1.5
    elif (
        first in FAMILY_FIRST and len(words) <= 4 and all(len(word) <= 8 and word[0].isupper() for word in words)
    ) or (len(words) == 2 and is_known_given(final) and (is_surname(first.capitalize()) or first.isupper())):
        points = 3.0
    elif surname:
        points = 3.0 if not at_begin or final in family_names() else 2.5
    inside = any(
        word in JOINTS or word in LARGE_JOINTS or word.startswith(("Al-", "El-", "O'", "O’", "Mc"))
        for word in words[1:]
    )
    return points + 1.0 if inside else points


def _before(text: str, start: int, end: int, last: _Run | None, first: str, count: int) -> float:
    """What stands before: where the run is listed with the last one, what stands before that."""
    if last is None or not linked(text, last.end, start):
        points = before(text, start, end, first)
        return 0.0 if points == IN_A_PLACE and count > 1 else points
    given = is_known_given(first)
    if "&" in text[last.end : start]:
        return last.before - 3.5
    if last.before >= 0 and not given and count == 1 and text[last.end] in ",;":
        return before(text, start, end, first)
    return last.before or (1.0 if given and is_known_given(last.words[0].text) else 0.5)


def _is_turned(text: str, last: _Run, run: _Run) -> bool:
    """Whether the run is the given name behind the surname before it, as lists have them: "Hopper, Grace"."""
    family = last.words[0].text
    return (
        text[last.end : run.start] == ", "
        and len(last.words) == 1
        and len(run.words) <= 2
        and is_known_given(run.words[0].text)
        and is_surname(family)
        and not is_known_given(family)
        and begins(text, last.start)
        and text[run.end : run.end + 1] in ("", *"\n;|\"'(<\t")
    )


def _fits(value: str) -> bool:
    """Whether a cell in a column of people holds a name."""
    match = RUN.fullmatch(value)
    if match is None:
        return False
    first, *others = (word.text for word in words_of(match))
    if first in THINGS or (first in STOPS and first not in AMBIGUOUS):
        return False
    return not any(word not in SURNAMES_TOO and (word in THINGS or word in STOPS) for word in others)


def _by_others(text: str, undecided: list[_Run], sure: list[_Run], found: list[Found]) -> Iterator[Found]:
    """Of the runs that lack points those that a found name speaks for: it holds the same word, or stands beside. What people do whose
    names are joined each of them does: "Mark and Rose told me"."""
    known = {
        word for each in found for word in text[each.start : each.end].split() if len(word) > 2 and word not in JOINTS
    }
    starts, ends = {each.start: each for each in sure}, {each.end for each in sure}
    for run in undecided:
        if text[run.start : run.end] in known and (run.before >= 0 or run.words[0].text not in AMBIGUOUS):
            yield Found("name", run.start, run.end)
        elif is_known_given(run.words[0].text):
            points = run.points if _is_announced(run) else HOPELESS + 1.0
            for gap in range(1, LINK_MAX_CHARS + 1):
                if run.end + gap in starts and linked(text, run.end, run.end + gap):
                    points += BESIDE + max(0.0, starts[run.end + gap].behind)
                elif run.start - gap in ends and linked(text, run.start - gap, run.start):
                    points += BESIDE
            if points >= ENOUGH:
                yield Found("name", run.start, run.end)
