"""A small run of `python -m bench.restore`: what is promised of points in time and of a lost host holds."""

from __future__ import annotations

import random

import pytest

from bench.restore import Levels, loss, points

pytestmark = pytest.mark.slow


async def test_random_points_in_time_hold_what_was_committed_by_then() -> None:
    found = await points(megabytes=3, number=5, seconds=14, rate=100, levels=Levels(l0_s=9, l1_s=3), seed=5)
    assert [each.fault for each in found] == [""] * 5
    assert all(each.entries > 0 for each in found)


async def test_a_host_that_is_killed_leaves_a_whole_prefix_of_its_commits() -> None:
    lost = await loss("directory", "", 200, random.Random(1))
    assert lost.fault == ""
