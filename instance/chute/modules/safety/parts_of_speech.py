"""Which words of a sentence are for things and which for doings, as far as their neighbours and endings tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

_GERMAN = frozenset(
    "der die das den dem des ein eine einen einem einer ist sind und nicht wird werden im am zum zur beim vom mit für auf von zu hat haben kann".split()
)
_ENGLISH = frozenset(
    "the of and is was are were it its you your with by from has have had been will can that they their".split()
)
_BEFORE_DOINGS = frozenset(
    "to will would can could may might must should shall do does did don't doesn't didn't won't can't cannot not never it they he she we you i who which "
    "ne pas se si il elle ils elles on se lo ha han ont hanno".split()
)
_BEFORE_THINGS = frozenset(
    "a an the this that these those its his her their our your my no any some each every all both of in on at for from by with as and or per via than into over under about between during after before because "
    "le la les l un une des du de d au aux en dans sur pour par avec sans et ou son sa ses leur leurs el los las una unos unas del al con por para sin y o su sus il lo gli i uno di da per tra alla dal dalla della dell nel nella sul sulla e "
    "os as um uma do dos das no na nos nas pelo pela com sem het een van met voor aan op".split()
)
_DOING_ENDS = ("ed", "ing")


def parts_of_speech(words: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Each word without case, and whether it is for what is done. In German a capital tells, elsewhere what stands before."""
    small = [word.casefold() for word in words]
    known = set(small)
    if not known.isdisjoint(_GERMAN) and known.isdisjoint(_ENGLISH):
        yield from ((word, shown[0].islower()) for word, shown in zip(small, words, strict=True))
        return
    english = not known.isdisjoint(_ENGLISH)
    before, thing, does_next = "", False, False
    for word in small:
        if word in _BEFORE_DOINGS:
            does, thing, does_next = True, False, True
        elif word in _BEFORE_THINGS:
            does = thing = does_next = False
        else:
            does = does_next or word.endswith(_DOING_ENDS) or (thing and (not english or _agrees(before, word)))
            thing, does_next = not does, False
        yield word, does
        before = word


def _agrees(thing: str, word: str) -> bool:
    """Whether a word behind one for a thing is what it does: of the two one has an s ("the sun sets", "dams hold")."""
    return thing.endswith("s") != word.endswith("s")
