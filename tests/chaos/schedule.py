"""What happens when: from a seed to a list of faults. Pure, so that a seed tells the same story again."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

FIRST_S = 2.0
EVERY_S = 3.5
REST_S = 6.0  # of the time, kept free of new faults at the end


@dataclass(frozen=True, slots=True)
class Planned:
    at_s: float
    fault: str
    victim: str


def schedule(seed: int, seconds: float, faults: Sequence[str], tenants: Sequence[str]) -> list[Planned]:
    """Every fault once in random order, then again in another order, and so on; each with a tenant, should it need one."""
    chance = random.Random(seed)
    kinds, victims = _rounds(chance, faults), _rounds(chance, tenants)
    planned, at_s = [], FIRST_S
    while at_s < seconds - REST_S:
        planned.append(Planned(round(at_s, 2), next(kinds), next(victims)))
        at_s += EVERY_S * chance.uniform(0.5, 1.5)
    return planned


def _rounds(chance: random.Random, things: Sequence[str]) -> Iterator[str]:
    while True:
        yield from chance.sample(things, len(things))
