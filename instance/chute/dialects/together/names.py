"""Short names of models, completed from the provider's own list."""

from __future__ import annotations

import re
from collections.abc import Iterable

VARIANTS = re.compile(r"(?:^|[-_.])(turbo|lite|free)(?:[-_.]|$)")
CANDIDATES_MAX = 10


def completed(name: str, models: Iterable[str]) -> tuple[str, list[str]]:
    """The one full id that fits a short name, and all that would.

    A name fits an id whose part after the slash begins with it (a vendor's own `meta-` before it does not count, nor case).
    Turbo, Lite and free variants are other offers at other prices: they are candidates, never taken unless the name says so.
    The id is empty when none or more than one is left.
    """
    wanted = name.lower()
    fitting = sorted(model for model in models if _fits(wanted, model))
    exact = [model for model in fitting if _tail(model) == wanted]
    if len(exact) == 1:
        return exact[0], fitting
    plain = [model for model in fitting if not _variants(model) - _variants(wanted)]
    return (plain[0] if len(plain) == 1 else ""), fitting[:CANDIDATES_MAX]


def _fits(wanted: str, model: str) -> bool:
    tail = _tail(model)
    for text in (tail, tail.removeprefix("meta-")):
        if text.startswith(wanted) and (len(text) == len(wanted) or not text[len(wanted)].isalnum()):
            return True
    return False


def _tail(model: str) -> str:
    return model.rpartition("/")[2].lower()


def _variants(text: str) -> set[str]:
    return set(VARIANTS.findall(text.lower()))
