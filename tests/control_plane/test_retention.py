"""How far back backups reach and which lives are kept: the rules."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.backups.object_store import Stored
from control_plane.backups.pruning import superfluous
from control_plane.domain.retention import DAY_S, expired, window
from control_plane.domain.tenants import Epoch

NOW = 100 * DAY_S
HOUR_S = 3_600.0


def life(n: int, began: float, ended: float | None = None, **known: Any) -> Epoch:
    """An epoch that began and ended so many days ago, confirmed to its end and verified."""
    closed_at = None if ended is None else NOW - ended * DAY_S
    at = closed_at or NOW - 60
    facts = {"parent": n - 1 or None, "confirmed_txid": 9, "confirmed_at": at, "verified_at": at} | known
    return Epoch("acme", n, started_at=NOW - began * DAY_S, closed_at=closed_at, **facts)


def test_lives_that_ended_before_the_plans_days_go() -> None:
    lives = [life(1, 40, 20), life(2, 20, 5), life(3, 5)]
    assert expired(lives, NOW, 1) == [1, 2]
    assert expired(lives, NOW, 10) == [1]
    assert expired(lives, NOW, 30) == []


def test_the_newest_confirmed_life_is_kept_however_old_it_is() -> None:
    assert expired([life(1, 90, 80), life(2, 80, 70)], NOW, 1) == [1]


def test_what_a_fresh_life_without_a_confirmed_backup_would_be_restored_from_is_kept() -> None:
    unconfirmed = {"confirmed_txid": None, "confirmed_at": None, "verified_at": None}
    lives = [life(1, 90, 50), life(2, 50, 40), life(3, 40, 30, **unconfirmed), life(4, 30, **unconfirmed)]
    assert expired(lives, NOW, 1) == [1]


def test_a_life_that_was_given_up_is_no_part_of_the_present_line_and_goes_with_its_age() -> None:
    lives = [life(1, 90, 50), life(2, 50, 40), life(3, 40, parent=1)]
    assert expired(lives, NOW, 60) == []
    assert expired(lives, NOW, 1) == [1, 2]


def test_what_the_present_life_goes_back_to_is_kept_though_a_life_that_was_given_up_is_newer() -> None:
    unconfirmed = {"confirmed_txid": None, "confirmed_at": None, "verified_at": None}
    lives = [life(1, 90, 50), life(2, 50, 40), life(3, 40, parent=1, **unconfirmed)]
    assert expired(lives, NOW, 1) == []


@pytest.mark.parametrize("doubt", [{"verified_at": None}, {"broken_at": NOW - 5}])
def test_nothing_goes_while_the_newest_backup_is_not_known_to_be_sound(doubt: dict[str, Any]) -> None:
    assert expired([life(1, 90, 50), life(2, 50, **doubt)], NOW, 1) == []


def test_a_life_is_kept_while_its_successor_is_younger_than_the_window() -> None:
    just_over = 1 + 0.5 * HOUR_S / DAY_S
    assert expired([life(1, 90, just_over), life(2, just_over)], NOW, 1) == []


def test_what_expired_does_not_expire_again() -> None:
    assert expired([life(1, 90, 50, expired_at=NOW), life(2, 50)], NOW, 1) == []


def test_the_window_begins_the_plans_days_ago_or_with_the_first_backup() -> None:
    assert window([life(1, 40)], NOW, 30) == (NOW - 30 * DAY_S, NOW - 60)
    assert window([life(1, 4)], NOW, 30) == (NOW - 4 * DAY_S, NOW - 60)


def test_the_window_of_a_tenant_that_slept_longer_than_its_plan_keeps_is_its_newest_state() -> None:
    lives = [life(1, 90, 80)]
    assert window(lives, NOW, 30) == (NOW - 80 * DAY_S, NOW - 80 * DAY_S)


def test_the_window_does_not_reach_back_to_what_was_removed_before_a_better_plan() -> None:
    lives = [life(1, 90, 50, expired_at=NOW), life(2, 50, reaches_back_to=NOW - 2 * DAY_S)]
    assert window(lives, NOW, 30) == (NOW - 2 * DAY_S, NOW - 60)


def test_without_a_confirmed_backup_there_is_no_window() -> None:
    assert window([life(1, 1, confirmed_at=None)], NOW, 30) is None


def file(level: int, first: int, last: int, at: float) -> Stored:
    return Stored(f"tenants/acme/00000001/ltx/{level}/{first:016x}-{last:016x}.ltx", 100, at)


def test_what_lies_before_the_newest_snapshot_from_before_the_window_goes() -> None:
    old = [file(9, 1, 10, 0), file(9, 1, 20, 10 * HOUR_S), file(1, 1, 15, 0), file(1, 16, 19, 0), file(0, 18, 18, 0)]
    kept = [file(9, 1, 30, 20 * HOUR_S), file(1, 20, 33, 0), file(1, 34, 40, 0), file(0, 41, 41, 0)]
    kept += [file(9, 1, 40, 30 * HOUR_S)]
    found = superfluous([*old, *kept], begin=25 * HOUR_S)
    assert sorted(found.names) == sorted(each.name for each in old)
    assert found.reaches_back_to == 20 * HOUR_S


def test_without_a_snapshot_from_before_the_window_nothing_goes() -> None:
    assert superfluous([file(9, 1, 10, 9), file(1, 1, 5, 0)], begin=8) == ([], None)


def test_the_last_piece_of_a_level_stays_as_litestream_goes_on_from_it() -> None:
    found = superfluous([file(9, 1, 10, 0), file(2, 1, 4, 0), file(2, 5, 8, 0)], begin=5)
    assert found.names == [file(2, 1, 4, 0).name]


def test_snapshots_in_short_order_are_thinned_and_the_newest_stays() -> None:
    files = [file(9, 1, 10 + hour, hour * HOUR_S) for hour in range(9)]
    found = superfluous(files, begin=0)
    assert found.names == [each.name for each in [*files[1:6], files[7]]]


def test_what_is_no_file_of_litestream_is_left_alone() -> None:
    assert superfluous([file(9, 1, 10, 0), Stored("tenants/acme/note.txt", 1, 0)], begin=5).names == []
