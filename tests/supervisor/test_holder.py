"""One supervisor a data folder, and what a killed one leaves behind."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from control_plane.supervisor.holder import DataFolder, InUse, start_time


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def test_a_second_holder_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    first = DataFolder(tmp_path)
    with pytest.raises(InUse, match="runs already"):
        DataFolder(tmp_path)
    first.release()
    DataFolder(tmp_path).release()


def test_children_of_a_killed_holder_are_ended_by_the_next(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    killed = DataFolder(tmp_path)
    killed.note({"edge": sleeper.pid})
    killed._lock.close()  # what the kernel does for a process that was killed
    successor = DataFolder(tmp_path)
    assert successor.end_leftovers() == ["edge"]
    assert sleeper.wait(10) != 0
    assert successor.end_leftovers() == []
    successor.release()


def test_a_stranger_that_got_the_same_pid_is_left_alone(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    holder = DataFolder(tmp_path)
    started = start_time(sleeper.pid)
    assert started is not None
    (tmp_path / "up.json").write_text(f'{{"edge": [{sleeper.pid}, {started - 1}]}}')
    assert holder.end_leftovers() == []
    assert sleeper.poll() is None
    holder.release()


def test_a_process_that_ended_has_no_start_time(sleeper: subprocess.Popen[bytes]) -> None:
    assert start_time(sleeper.pid) is not None
    sleeper.kill()
    sleeper.wait()
    assert start_time(sleeper.pid) is None
