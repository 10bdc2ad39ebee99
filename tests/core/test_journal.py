from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from instance.core import journal as journals
from instance.core.journal import DISK, LAG, Journal, JournalUnavailable
from instance.core.journal_reader import JournalReader
from instance.core.records import encode
from instance.core.segments import segment_path

RESERVE = 1 << 16
FRAME = len(encode(1, 1, [b"x" * 100]))


def opened(folder: Path, epoch: str = "e1", sequence: int = 0, segment: int = 0, **options: object) -> Journal:
    journal = Journal(folder, epoch, reserve_bytes=RESERVE, **options)  # type: ignore[arg-type]
    journal.open(sequence, segment)
    return journal


def sequences(journal: Journal, folded: int = 0) -> list[int]:
    reader = JournalReader(journal, folded)
    read = [record.sequence for record in reader.take(1_000_000)]
    reader.close()
    return read


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


class Disk:
    """Takes `room` more bytes, then is full: a part of the write is taken first, as a real one does."""

    def __init__(self) -> None:
        self.room = 1 << 40
        self.writes = 0

    def write(self, descriptor: int, data: bytes, at: int) -> int:
        self.writes += 1
        if os.fstat(descriptor).st_size >= at + len(data):
            return os.pwrite(descriptor, data, at)  # the reserve's blocks are its own already
        if self.room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = os.pwrite(descriptor, data[: self.room], at)
        self.room -= taken
        return taken


def test_records_are_read_in_the_order_in_which_they_were_appended(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    assert [journal.append(1, b"a"), journal.append(2, b"b", b"c"), journal.append(1)] == [1, 2, 3]
    read = JournalReader(journal, 0).take(10)
    assert [(record.sequence, record.kind, record.parts) for record in read] == [
        (1, 1, [b"a"]),
        (2, 2, [b"b", b"c"]),
        (3, 1, []),
    ]


def test_a_record_is_one_write(tmp_path: Path) -> None:
    disk = Disk()
    journal = opened(tmp_path, write=disk.write)
    for _ in range(5):
        journal.append(1, b"x" * 1000, b"y" * 5000)
    assert disk.writes == 5


def test_what_was_read_is_not_read_again(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    reader = JournalReader(journal, 0)
    journal.append(1, b"a")
    assert len(reader.take(10)) == 1
    assert reader.take(10) == []
    journal.append(1, b"b")
    assert [record.sequence for record in reader.take(10)] == [2]


def test_what_is_given_back_comes_first_again(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    for _ in range(4):
        journal.append(1, b"a")
    reader = JournalReader(journal, 0)
    taken = reader.take(3)
    reader.give_back(taken[1:])
    assert [record.sequence for record in reader.take(10)] == [2, 3, 4]


def test_a_record_larger_than_a_block_of_the_reader_is_read(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.append(1, b"x" * 1_000_000)
    journal.append(1, b"y")
    assert sequences(journal) == [1, 2]


def test_a_record_larger_than_a_segment_is_taken(tmp_path: Path) -> None:
    journal = opened(tmp_path, segment_bytes=1000)
    journal.append(1, b"x" * 5000)
    journal.append(1, b"y")
    assert sequences(journal) == [1, 2]


def test_a_new_segment_begins_when_one_is_full(tmp_path: Path) -> None:
    journal = opened(tmp_path, segment_bytes=3 * FRAME)
    for _ in range(7):
        journal.append(1, b"x" * 100)
    assert files(tmp_path) == ["e1-00000001.seg", "e1-00000002.seg", "e1-00000003.seg", "reserve"]
    assert sequences(journal) == [1, 2, 3, 4, 5, 6, 7]


def test_a_folded_segment_is_removed_whole_and_only_after_what_was_folded_is_durable(tmp_path: Path) -> None:
    journal = opened(tmp_path, segment_bytes=3 * FRAME)
    for _ in range(7):
        journal.append(1, b"x" * 100)
    journal.folded(4 * FRAME, 2)
    seen: list[list[str]] = []
    journal.remove_folded(lambda: seen.append(files(tmp_path)))
    assert "e1-00000001.seg" in seen[0]
    assert files(tmp_path) == ["e1-00000002.seg", "e1-00000003.seg", "reserve"]


def test_the_segment_that_is_appended_to_is_never_removed(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.append(1, b"a")
    journal.folded(journal.lag_bytes, 1)
    journal.remove_folded(lambda: None)
    journal.append(1, b"b")
    assert files(tmp_path) == ["e1-00000001.seg", "reserve"]
    assert sequences(journal, 1) == [2]


def test_after_a_crash_what_was_appended_is_there_and_sequences_go_on_in_a_new_segment(tmp_path: Path) -> None:
    for expected in (3, 6):
        journal = opened(tmp_path)
        for _ in range(3):
            journal.append(1, b"x")
        assert journal.sequence == expected
    assert files(tmp_path) == ["e1-00000001.seg", "e1-00000002.seg", "reserve"]
    assert sequences(opened(tmp_path)) == [1, 2, 3, 4, 5, 6]


def test_what_was_folded_before_the_crash_is_not_read_again(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    for _ in range(3):
        journal.append(1, b"x")
    again = opened(tmp_path, sequence=2, segment=1)
    assert sequences(again, 2) == [3]
    assert again.lag_bytes == len(encode(3, 1, [b"x"]))


@pytest.mark.parametrize("lost", [1, 5, 20, FRAME - 1])
def test_a_torn_tail_is_ignored(tmp_path: Path, lost: int) -> None:
    journal = opened(tmp_path)
    for _ in range(3):
        journal.append(1, b"x" * 100)
    path = segment_path(tmp_path, "e1", 1)
    os.truncate(path, path.stat().st_size - lost)
    again = opened(tmp_path)
    assert sequences(again) == [1, 2]
    assert again.append(1, b"y") == 3
    assert sequences(again) == [1, 2, 3]


def test_rubbish_behind_the_last_frame_is_ignored_also_when_it_is_a_frame_of_another_time(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.append(1, b"x")
    with segment_path(tmp_path, "e1", 1).open("ab") as file:
        file.write(encode(77, 1, [b"not mine"]))
    assert sequences(opened(tmp_path)) == [1]


def test_sequences_go_on_behind_the_database_when_every_segment_is_gone(tmp_path: Path) -> None:
    journal = opened(tmp_path, sequence=41, segment=7)
    assert journal.append(1, b"x") == 42
    assert files(tmp_path) == ["e1-00000008.seg", "reserve"]


def test_segments_of_another_epoch_are_set_aside_and_never_read(tmp_path: Path) -> None:
    opened(tmp_path, "e1").append(1, b"x")
    journal = opened(tmp_path, "e2", sequence=5)
    assert sequences(journal) == []
    assert files(tmp_path / "aside") == ["e1-00000001.seg"]
    assert journal.append(1, b"y") == 6


def test_a_hole_between_segments_is_kept_for_people_to_look_at(tmp_path: Path) -> None:
    journal = opened(tmp_path, segment_bytes=2 * FRAME)
    for _ in range(5):
        journal.append(1, b"x" * 100)
    first = segment_path(tmp_path, "e1", 1)
    broken = bytearray(first.read_bytes())
    broken[-1] ^= 1
    first.write_bytes(broken)
    again = opened(tmp_path)
    assert sequences(again) == [1, 3, 4, 5]
    again.folded(4 * FRAME, 3)
    again.remove_folded(lambda: None)
    assert files(tmp_path / "aside") == ["e1-00000001.seg"]


def test_a_closed_journal_of_which_all_was_folded_leaves_no_segment(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.append(1, b"x")
    journal.folded(journal.lag_bytes, 1)
    journal.close(lambda: None)
    assert files(tmp_path) == ["reserve"]


def test_a_closed_journal_with_something_unfolded_keeps_it(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.append(1, b"x")
    journal.close(lambda: None)
    assert sequences(opened(tmp_path)) == [1]


def test_when_the_disk_is_full_the_reserve_takes_what_is_in_flight_and_no_new_call_is_begun(tmp_path: Path) -> None:
    disk = Disk()
    journal = opened(tmp_path, write=disk.write)
    journal.append(1, b"a" * 100)
    disk.room = 50
    assert journal.append(1, b"b" * 100) == 2
    assert not journal.available
    assert "full" in journal.reason
    assert journal.append(1, b"c" * 100) == 3
    assert sequences(journal) == [1, 2, 3]
    assert sequences(opened(tmp_path)) == [1, 2, 3]


def test_a_write_that_takes_nothing_at_all_uses_the_reserve_too(tmp_path: Path) -> None:
    disk = Disk()
    journal = opened(tmp_path, write=disk.write)
    disk.room = 0
    assert journal.append(1, b"a") == 1
    assert not journal.available
    assert sequences(opened(tmp_path)) == [1]


def test_a_used_up_reserve_refuses_and_what_was_refused_is_not_there(tmp_path: Path) -> None:
    disk = Disk()
    journal = opened(tmp_path, write=disk.write)
    journal.append(1, b"a")
    disk.room = 0
    taken = 1
    with pytest.raises(JournalUnavailable):
        while True:
            journal.append(1, b"b" * 5000)
            taken += 1
    assert taken == 1 + RESERVE // len(encode(1, 1, [b"b" * 5000]))
    assert journal.append(1, b"small") == taken + 1
    assert sequences(opened(tmp_path)) == list(range(1, taken + 2))


def test_the_journal_heals_by_itself_when_there_is_room_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk()
    journal = opened(tmp_path, write=disk.write)
    disk.room = 0
    journal.append(1, b"a")
    monkeypatch.setattr(journals, "disk_has_room", lambda folder, size: False)
    journal.probe()
    assert not journal.available
    monkeypatch.setattr(journals, "disk_has_room", lambda folder, size: True)
    disk.room = 1 << 30
    journal.probe()
    assert journal.available
    assert journal.reason == ""
    assert (tmp_path / "reserve").stat().st_size == RESERVE
    for _ in range(20):
        journal.append(1, b"b" * 5000)
    assert sequences(journal) == list(range(1, 22))


def test_a_disk_that_is_full_a_second_time_is_survived_as_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "disk_has_room", lambda folder, size: True)
    disk = Disk()
    journal = opened(tmp_path, write=disk.write)
    for _ in range(2):
        disk.room = 0
        journal.append(1, b"a" * (RESERVE // 2 + 1))
        assert not journal.available
        disk.room = 1 << 30
        journal.probe()
        assert journal.available
    assert sequences(opened(tmp_path)) == [1, 2]


def test_a_journal_without_a_reserve_begins_unavailable_and_does_not_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(folder: Path, size: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(journals, "make_reserve", full)
    journal = opened(tmp_path)
    assert not journal.available
    with pytest.raises(JournalUnavailable):
        journal.append(1, b"a")
    monkeypatch.undo()
    journal.probe()
    assert journal.available
    assert journal.append(1, b"a") == 1


def test_too_much_that_is_not_folded_refuses_calls_until_half_of_it_is(tmp_path: Path) -> None:
    journal = opened(tmp_path, unfolded_max_bytes=10 * FRAME)
    for _ in range(11):
        journal.append(1, b"x" * 100)
    assert not journal.available
    journal.folded(5 * FRAME, 1)
    assert not journal.available
    journal.folded(2 * FRAME, 1)
    assert journal.available


def test_the_journal_is_available_only_when_no_cause_is_left(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.block(DISK, "the disk is full")
    journal.block(LAG, "too much")
    journal.unblock(LAG)
    assert (journal.available, journal.reason) == (False, "the disk is full")
    journal.unblock(DISK)
    assert (journal.available, journal.reason) == (True, "")
