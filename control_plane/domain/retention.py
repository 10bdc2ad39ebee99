"""How far back a tenant's backups reach, and which lives of its database are kept. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from control_plane.domain.tenants import Epoch

DAY_S = 86_400
OVERLAP_S = 3_600
"""A life is needed until its successor is so old: a time soon after that one's beginning may still be answered by it."""


def window(epochs: Sequence[Epoch], now: float, days: int) -> tuple[float, float] | None:
    """First and last time that a restore may name; None while nothing was confirmed.

    It begins no earlier than the plan's days ago, unless nothing was written since: the newest state is always kept.
    """
    kept = [each for each in epochs if each.confirmed_at is not None and each.expired_at is None]
    if not kept:
        return None
    last = max(each.confirmed_at or 0.0 for each in kept)
    first = min(max(each.started_at, each.reaches_back_to or 0.0) for each in kept)
    return min(max(first, now - days * DAY_S), last), last


def present_line(epochs: Sequence[Epoch]) -> list[Epoch]:
    """The newest epoch, its parent, and so on: a life that was restored and given up is no part of it."""
    by_number = {each.n: each for each in epochs}
    line: list[Epoch] = []
    n = max(by_number, default=None)
    while n is not None and n in by_number and (not line or n < line[-1].n):
        line.append(by_number[n])
        n = by_number[n].parent
    return line


def expired(epochs: Sequence[Epoch], now: float, days: int) -> list[int]:
    """Numbers of the epochs whose replica is not wanted any more.

    Kept are those that any restore may still read: for the newest state, the present line down to its newest confirmed
    life (the ones above may hold what was never confirmed); for a point in time, every life from the one on that was
    the tenant's when the window begins. And while the newest confirmed life has not been restored elsewhere, or did
    not verify, all are kept: an operator may need them.
    """
    line = present_line(epochs)
    newest = next((each for each in line if each.confirmed_txid is not None), None)
    if newest is None or newest.verified_at is None or newest.broken_at is not None:
        return []
    needed = {each.n for each in line[: line.index(newest) + 1]}
    begin = now - days * DAY_S
    covering = [
        each.n
        for each in epochs
        if each.confirmed_txid is not None and each.expired_at is None and each.started_at + OVERLAP_S <= begin
    ]
    if not covering:
        return []
    return [
        each.n
        for each in epochs
        if each.n < max(covering)
        and each.n not in needed
        and each.expired_at is None
        and each.closed_at is not None
        and each.closed_at < begin
    ]
