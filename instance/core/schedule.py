"""When this instance has something to do by itself next: a hosted one is woken in time for it, though nobody calls."""

from __future__ import annotations


class Schedule:
    """One time for each name; whoever has something to do sets its own and keeps it up to date.

    It starts nothing. What is due is done by its app while the instance runs; the control plane only sees to it that it
    does run by then.
    """

    def __init__(self) -> None:
        self._at_ns: dict[str, int] = {}

    def set(self, name: str, at_ns: int | None) -> None:
        """`name` has something to do at this time (nanoseconds since 1970 UTC), or nothing any more."""
        if at_ns is None:
            self._at_ns.pop(name, None)
        else:
            self._at_ns[name] = at_ns

    def get(self, name: str) -> int | None:
        """The time of one name."""
        return self._at_ns.get(name)

    def next_ns(self) -> int | None:
        """The earliest of all; None when nothing is scheduled."""
        return min(self._at_ns.values(), default=None)
