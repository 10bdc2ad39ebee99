"""One life of the control plane, or of the activator: every effect passes through `effect`, where it may fail or die."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


class PlaneDead(BaseException):
    """`kill -9`: nothing that comes after this has any effect. No Exception, so that no code under test handles it."""


@dataclass(slots=True)
class Faults:
    """Probabilities for each effect; all zero when faults have ceased."""

    kill: float = 0.004
    fail: float = 0.02  # refused, nothing happened
    lose_answer: float = 0.01  # happened, but the answer was lost
    delay: float = 0.05
    lost_start: float = 0.08
    late_start: float = 0.05
    broken_start: float = 0.04
    failed_stop: float = 0.08
    slow_stop: float = 0.15
    bad_restore: float = 0.15
    late_reading: float = 0.25  # of usage, counted again some moments later
    twice: float = 0.08  # carried out again, later, as by a retry that was on its way

    def cease(self) -> None:
        """From now on nothing fails."""
        for name in self.__slots__:
            setattr(self, name, 0.0)


class Plane:
    """Alive until it is killed; a new one is made for the next life."""

    def __init__(self, chance: random.Random, faults: Faults, kill_at: int | None = None) -> None:
        self.chance = chance
        self.faults = faults
        self.alive = True
        self.effects = 0
        self._kill_at = kill_at

    def die(self) -> None:
        """Now, wherever it is."""
        self.alive = False

    async def effect(
        self,
        do: Callable[[], T],
        refusal: type[Exception] | None = None,
        *,
        repeats: float = 0.0,
        at_once: bool = False,
    ) -> T:
        """Do it, unless the dice say otherwise; `refusal` is what it raises when it fails.

        `at_once`: it takes no time, as a system call. `repeats`: how probably it is carried out a second time, some moments after it was answered.
        """
        self._maybe_die()
        faults, dice = self.faults, self.chance.random()
        if dice < faults.delay and not at_once:
            await asyncio.sleep(self.chance.choice((0.0, 0.0, 0.01, 0.1, 0.5)))
            self._must_live()
        dice = self.chance.random()
        if refusal is not None and dice < faults.fail:
            raise refusal("a fault")
        result = do()
        if repeats and self.chance.random() < repeats:
            asyncio.get_running_loop().call_later(self.chance.uniform(0.0, 1.5), _again, do)
        self._maybe_die()
        if refusal is not None and dice > 1.0 - faults.lose_answer:
            raise refusal("the answer was lost")
        return result

    async def pause(self, seconds: float) -> None:
        """Something takes its time."""
        await asyncio.sleep(seconds)
        self._must_live()

    def _maybe_die(self) -> None:
        self._must_live()
        self.effects += 1
        if self.effects == self._kill_at or self.chance.random() < self.faults.kill:
            self.die()
        self._must_live()

    def _must_live(self) -> None:
        if not self.alive:
            raise PlaneDead


def _again(do: Callable[[], object]) -> None:
    """Whoever asked is no longer there to hear how it went."""
    with suppress(Exception):
        do()
