"""Garbage collection for a process that serves: what is there at its start is set apart, the rest looked through seldom."""

from __future__ import annotations

import gc

COLLECT_AFTER = 10_000
"""Objects that may be made before the youngest of them are looked through; Python's own choice is 700."""


def collect_seldom() -> None:
    """Set what is there now apart from garbage collection and look through the rest ten times less often than usual.

    What serves requests makes thousands of objects a second and nearly no cycles; to look through all that its modules
    made when they were imported holds everybody up, for a tenth of a second where the processors are busy.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 20, 50)
    gc.enable()
