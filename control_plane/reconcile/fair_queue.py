"""Whose turn it is: a bounded number of places, given fairly. Pure, and the same every time for the same calls.

Accounts take turns, whatever number of tenants each has, and none holds more than three quarters of the places. What a
caller waits for goes ahead of what nobody waits for, which gets every fourth turn all the same.
"""

from __future__ import annotations

from collections import Counter

OTHERS_EVERY = 4  # of so many turns, one is for what nobody waits for


class FairQueue:
    """Names that wait for a place or hold one, each once; so it is never longer than there are tenants."""

    def __init__(self, places: int, others_most: int | None = None) -> None:
        """`others_most`: how many places may be held by what nobody waits for; by default all."""
        self.places = places
        self._others_most = places if others_most is None else others_most
        self._account_most = max(1, places - places // 4)
        # Both in the order of turns: accounts, and the names of each.
        self._urgent: dict[int, dict[str, None]] = {}
        self._others: dict[int, dict[str, None]] = {}
        self._waiting: dict[str, tuple[int, bool]] = {}
        self._held: dict[str, tuple[int, bool]] = {}
        self._held_by: Counter[int] = Counter()
        self._others_held = 0
        self._turns = 0

    def __contains__(self, name: str) -> bool:
        """True while it waits; one that holds a place waits no longer."""
        return name in self._waiting

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def held(self) -> int:
        """How many places are taken."""
        return len(self._held)

    def join(self, name: str, account: int, *, urgent: bool) -> None:
        """Wait for a place. One that waits already keeps its turn, or gets an earlier one when it became urgent."""
        present = self._waiting.get(name)
        if present is not None:
            if present[1] or not urgent:
                return
            self._drop(name)
        self._waiting[name] = (account, urgent)
        (self._urgent if urgent else self._others).setdefault(account, {})[name] = None

    def leave(self, name: str) -> None:
        """Wait no longer, and give the place back; no error for one that has neither."""
        if name in self._waiting:
            self._drop(name)
        held = self._held.pop(name, None)
        if held is not None:
            account, urgent = held
            self._others_held -= not urgent
            self._held_by[account] -= 1
            if not self._held_by[account]:
                del self._held_by[account]

    def take(self) -> list[str]:
        """The names that get a place now, in the order of their turns."""
        taken: list[str] = []
        while len(self._held) < self.places and (name := self._next()) is not None:
            account, urgent = self._drop(name)
            self._held[name] = (account, urgent)
            self._held_by[account] += 1
            self._others_held += not urgent
            self._turns += 1
            ring = self._urgent if urgent else self._others
            if account in ring:
                ring[account] = ring.pop(account)  # its next turn comes after everybody else's
            taken.append(name)
        return taken

    def position(self, name: str) -> int | None:
        """How many turns until it has a place, the others' turns while it waits aside; 0 = it holds one, None = neither."""
        if name in self._held:
            return 0
        if name not in self._waiting:
            return None
        account, urgent = self._waiting[name]
        ring = self._urgent if urgent else self._others
        before_own, place = 1, list(ring[account]).index(name)
        ahead = place if urgent else place + sum(map(len, self._urgent.values()))
        for other, names in ring.items():
            if other == account:
                before_own = 0
            else:
                ahead += min(len(names), place + before_own)
        return ahead + 1

    def _next(self) -> str | None:
        turn_of_others = self._turns % OTHERS_EVERY == OTHERS_EVERY - 1
        for ring in (self._others, self._urgent) if turn_of_others else (self._urgent, self._others):
            if ring is self._others and self._others_held >= self._others_most:
                continue
            for account, names in ring.items():
                if self._held_by[account] < self._account_most:
                    return next(iter(names))
        return None

    def _drop(self, name: str) -> tuple[int, bool]:
        account, urgent = self._waiting.pop(name)
        ring = self._urgent if urgent else self._others
        del ring[account][name]
        if not ring[account]:
            del ring[account]
        return account, urgent
