"""How many processors a container leaves, as either version of cgroups tells it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from instance.core.processors import usable_processors


@pytest.fixture(autouse=True)
def four_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 3})


def test_without_a_quota_all_that_the_process_may_run_on(tmp_path: Path) -> None:
    assert usable_processors(tmp_path) == 4
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert usable_processors(tmp_path) == 4


def test_no_more_than_the_quota_of_cgroup_v2(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert usable_processors(tmp_path) == 1.5
    (tmp_path / "cpu.max").write_text("800000 100000\n")
    assert usable_processors(tmp_path) == 4


def test_no_more_than_the_quota_of_cgroup_v1(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("50000\n")
    assert usable_processors(tmp_path) == 0.5
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    assert usable_processors(tmp_path) == 4
