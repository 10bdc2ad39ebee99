"""Which files of one replica are older than a plan keeps. Pure.

Litestream keeps files as `ltx/LEVEL/FIRST-LAST.ltx`, named by transaction ids: level 9 holds whole snapshots, 0 what was
written since, the others the same in longer pieces. Its own retention is one for all databases, and only for those that it
carries at the moment: a plan's days, and the replicas of sleeping tenants, are kept to here, by the rules that it has
itself: nothing before the oldest kept snapshot, and never the last file of a level, which says where it goes on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from control_plane.backups.object_store import Stored

SNAPSHOTS = 9
SPACING_S = 6 * 3_600
"""Snapshots that follow the kept one before sooner are dropped: the pieces between hold the same."""
_FILE = re.compile(r"/([0-9])/([0-9a-f]{16})-([0-9a-f]{16})\.ltx$")


class Pruned(NamedTuple):
    """Names to be removed, and the oldest time that can be restored afterwards (None: unchanged)."""

    names: list[str]
    reaches_back_to: float | None


class _File(NamedTuple):
    level: int
    last: int
    at: float
    name: str


def superfluous(stored: Iterable[Stored], begin: float, spacing_s: float = SPACING_S) -> Pruned:
    """What no restore to a time from `begin` on reads.

    Kept are the newest snapshot from before `begin`, and everything after it: so data goes at most one interval of
    snapshots later than its time.
    """
    files = sorted(_read(stored))
    snapshots = [each for each in files if each.level == SNAPSHOTS]
    base = max((each for each in snapshots if each.at <= begin), key=lambda each: each.last, default=None)
    if base is None:
        return Pruned([], None)
    going = [each for each in snapshots if each.last < base.last]
    going += _too_close([each for each in snapshots if each.last >= base.last], spacing_s)
    for level in range(SNAPSHOTS):
        pieces = [each for each in files if each.level == level]
        going += [each for each in pieces[:-1] if each.last < base.last]
    return Pruned([each.name for each in going], base.at)


def _too_close(snapshots: Sequence[_File], spacing_s: float) -> list[_File]:
    going: list[_File] = []
    kept = snapshots[0]
    for each in snapshots[1:-1]:
        if each.at - kept.at < spacing_s:
            going.append(each)
        else:
            kept = each
    return going


def _read(stored: Iterable[Stored]) -> Iterable[_File]:
    for each in stored:
        if found := _FILE.search(each.name):
            yield _File(int(found[1]), int(found[3], 16), each.modified, each.name)
