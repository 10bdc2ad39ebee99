"""A disk that is really full: a small tmpfs, or a limit on the size of files."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from instance.core.data_folder import DataFolderError
from instance.core.errors import StockyardError
from instance.core.journal import Journal, JournalUnavailable
from instance.core.journal_reader import JournalReader
from tests.core.conftest import CALL, Stack, until

MIB = 1 << 20


@contextmanager
def files_at_most(size: int) -> Iterator[None]:
    """No file of this process can grow beyond `size` bytes meanwhile."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_a_write_that_the_system_cuts_short_is_made_whole_in_the_reserve(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "e1", reserve_bytes=64 << 10)
    journal.open(0, 0)
    for _ in range(50):
        journal.append(CALL, b"x" * 1000)
    size = (tmp_path / "e1-00000001.seg").stat().st_size
    with files_at_most(size + 500):
        assert journal.append(CALL, b"y" * 1000) == 51
        assert not journal.available
        assert (tmp_path / "e1-00000001.seg").stat().st_size == size + 500
    journal.probe()
    assert journal.available
    journal.append(CALL, b"z" * 1000)
    again = Journal(tmp_path, "e1", reserve_bytes=64 << 10)
    again.open(0, 0)
    assert [record.sequence for record in JournalReader(again, 0).take(100)] == list(range(1, 53))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(path: Path) -> None:
    """Take every free byte of the disk."""
    with path.open("wb", buffering=0) as file:
        for size in (MIB, 4096, 512, 1):
            try:
                while file.write(b"\0" * size):
                    pass
            except OSError:
                pass


@pytest.mark.slow
async def test_on_a_full_disk_calls_in_flight_are_kept_new_ones_refused_and_all_heals(small_disk: Path) -> None:
    stack = Stack(small_disk, reserve_bytes=2 * MIB, segment_bytes=MIB)
    stack.writer.start()
    for _ in range(100):
        stack.journal.append(CALL, b"before" * 100)
    await stack.writer.drain()

    fill(small_disk / "filler")
    appended = stack.journal.sequence
    while stack.journal.available:
        appended = stack.journal.append(CALL, b"until it is noticed" * 500)
    in_flight = [stack.journal.append(CALL, b"in flight" * 500) for _ in range(100)]
    assert in_flight == list(range(appended + 1, appended + 101))
    with pytest.raises(JournalUnavailable):
        while True:
            in_flight.append(stack.journal.append(CALL, b"too much" * 5000))
    with pytest.raises(StockyardError) as caught:
        await stack.writer.write(
            lambda connection: connection.execute("INSERT INTO folded VALUES (0, ?)", ("x" * 4 * MIB,)).rowcount
        )
    assert caught.value.code == "database_full"
    assert not stack.journal.available

    (small_disk / "filler").unlink()
    await until(lambda: stack.journal.available)
    last = stack.journal.append(CALL, b"after")
    await stack.writer.drain()
    assert [row[0] for row in await stack.rows()] == list(range(1, last + 1))
    assert last == in_flight[-1] + 1
    await stack.close()


@pytest.mark.slow
async def test_a_start_on_a_full_disk_says_so_and_one_with_room_again_folds_what_was_left(small_disk: Path) -> None:
    first = Stack(small_disk, reserve_bytes=2 * MIB)
    for _ in range(100):
        first.journal.append(CALL, b"x" * 1000)
    first.connection.close()
    fill(small_disk / "filler")
    with pytest.raises(DataFolderError, match="the disk is full"):
        Stack(small_disk)
    (small_disk / "filler").unlink()
    again = Stack(small_disk, reserve_bytes=2 * MIB)
    again.writer.start()
    await again.writer.drain()
    assert len(await again.rows()) == 100
    await again.close()
