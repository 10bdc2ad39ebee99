"""What settings say of a call's model, found once for each model and remembered."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from fnmatch import translate
from typing import TYPE_CHECKING, Generic, TypeVar

from instance.chute.call_identity import model_names

if TYPE_CHECKING:
    from instance.chute.exchange import Exchange

KNOWN_MAX = 4096
"""Models for which an answer is remembered; the answers to all are forgotten beyond."""

T = TypeVar("T")


class ByModel(Generic[T]):
    """`of(x)` gives what `find` says to the names of the call's model (`model_names`), which is all that it may go by."""

    __slots__ = ("_find", "_known")

    def __init__(self, find: Callable[[list[str]], T]) -> None:
        self._find = find
        self._known: dict[tuple[str, str], T] = {}

    def of(self, x: Exchange) -> T:
        targets = x.targets
        key = (x.model_requested, targets[0].label if targets else "")
        known = self._known
        if key in known:
            return known[key]
        if len(known) >= KNOWN_MAX:
            known.clear()
        found = known[key] = self._find(model_names(x))
        return found


def fitting(globs: Iterable[str]) -> ByModel[tuple[int, ...]]:
    """Which of the globs fit any of the model's names, by their place."""
    patterns = [re.compile(translate(glob)).match for glob in globs]
    return ByModel(
        lambda names: tuple(place for place, matches in enumerate(patterns) if any(matches(name) for name in names))
    )
