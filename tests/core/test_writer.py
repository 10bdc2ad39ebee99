from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from instance.core import meta
from instance.core.errors import StockyardError
from instance.core.records import Record, decode
from instance.core.writer import LedgerEvent
from tests.core.conftest import CALL, Stack, until


def full(record: Record) -> None:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    raise error


async def test_what_is_appended_is_folded_without_being_asked_for(stack: Stack) -> None:
    for index in range(300):
        stack.journal.append(CALL, b"%d" % index)
    await until(lambda: stack.journal.lag_bytes == 0)
    assert await stack.rows() == [(index + 1, str(index)) for index in range(300)]
    assert stack.writer.idle


async def test_drain_returns_when_everything_until_now_is_folded(stack: Stack) -> None:
    for _ in range(5):
        stack.journal.append(CALL, b"x")
        await stack.writer.drain()
        assert len(await stack.rows()) == stack.journal.sequence


async def test_the_fold_position_is_stored_with_what_was_folded(stack: Stack) -> None:
    for _ in range(100):
        stack.journal.append(CALL, b"x")
    await stack.writer.drain()
    assert await stack.database.read(meta.position) == ("e1", 100, 1)


async def test_a_slice_is_folded_by_every_fold_in_order_of_registration_on_the_same_list(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    seen: list[object] = []
    stack.writer.register(CALL, lambda connection, records: seen.append(records))
    stack.writer.start()
    stack.journal.append(CALL, b"x")
    await stack.writer.drain()
    assert seen[0] is stack.groups[0]
    await stack.close()


async def test_kinds_are_folded_in_the_order_of_the_journal(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    order: list[tuple[int, int]] = []
    stack.writer.register(CALL, lambda _, records: order.extend((1, record.sequence) for record in records))
    stack.writer.register(2, lambda _, records: order.extend((2, record.sequence) for record in records))
    for kind in (1, 1, 2, 1, 2, 2, 1):
        stack.journal.append(kind, b"x")
    stack.writer.start()
    await stack.writer.drain()
    assert order == [(1, 1), (1, 2), (2, 3), (1, 4), (2, 5), (2, 6), (1, 7)]
    await stack.close()


async def test_a_record_that_cannot_be_folded_is_kept_whole_and_the_others_go_on(tmp_path: Path) -> None:
    stack = Stack(tmp_path)

    def fail(record: Record) -> None:
        if record.sequence in (3, 7):
            raise ValueError("cannot be")

    stack.fail = fail
    for index in range(10):
        stack.journal.append(CALL, b"%d" % index, b"second part")
    stack.writer.start()
    await stack.writer.drain()
    assert [row[0] for row in await stack.rows()] == [1, 2, 4, 5, 6, 8, 9, 10]
    kept = await stack.database.read(
        lambda connection: connection.execute("SELECT sequence, kind, error, frame FROM journal_rejected").fetchall()
    )
    assert [(row[0], row[1], row[2]) for row in kept] == [
        (3, CALL, "ValueError: cannot be"),
        (7, CALL, "ValueError: cannot be"),
    ]
    (record,) = decode(kept[0][3])
    assert record.parts == [b"2", b"second part"]
    assert stack.writer.stats["rejected"] == 2
    assert stack.journal.lag_bytes == 0
    await stack.close()


async def test_a_record_that_cannot_be_folded_undoes_no_batch_before_it_and_repeats_none(tmp_path: Path) -> None:
    stack = Stack(tmp_path)

    def fail(record: Record) -> None:
        if record.sequence == 400:
            raise ValueError("cannot be")

    stack.fail = fail
    for index in range(500):
        stack.journal.append(CALL, b"%d" % index)
    stack.writer.start()
    await stack.writer.drain()
    assert [sequence for sequence, _ in await stack.rows()] == [n for n in range(1, 501) if n != 400]
    await stack.close()


async def test_a_write_does_not_wait_for_the_whole_backlog(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    for _ in range(400):
        stack.journal.append(CALL, b"x")
    folded: list[int] = []
    folding, queued = threading.Event(), threading.Event()

    def fold_slowly(record: Record) -> None:
        folded.append(record.sequence)
        folding.set()
        assert queued.wait(10)

    stack.fail = fold_slowly
    stack.writer.start()
    await asyncio.to_thread(folding.wait, 10)
    written = asyncio.create_task(stack.writer.write(lambda connection: len(folded)))
    await asyncio.sleep(0)
    queued.set()
    assert 0 < await written < 400
    await stack.writer.drain()
    assert folded == list(range(1, 401))
    await stack.close()


async def test_a_record_of_a_kind_that_nobody_folds_is_kept(stack: Stack) -> None:
    stack.journal.append(99, b"x")
    stack.journal.append(CALL, b"y")
    await stack.writer.drain()
    assert await stack.rows() == [(2, "y")]
    assert stack.writer.stats["rejected"] == 1


async def test_while_the_database_is_full_nothing_is_dropped_and_no_call_is_begun(stack: Stack) -> None:
    stack.fail = full
    for _ in range(20):
        stack.journal.append(CALL, b"x")
    await until(lambda: not stack.journal.available)
    assert "full" in stack.journal.reason
    assert await stack.rows() == []
    stack.fail = None
    await stack.writer.drain()
    await until(lambda: stack.journal.available)
    assert [row[0] for row in await stack.rows()] == list(range(1, 21))


async def test_a_disk_that_fails_in_the_middle_of_a_bad_slice_loses_nothing(stack: Stack) -> None:
    tries: dict[int, int] = {}

    def fail(record: Record) -> None:
        tries[record.sequence] = tries.get(record.sequence, 0) + 1
        if record.sequence == 2:
            raise ValueError("poison")
        if record.sequence == 4 and tries[4] < 4:
            full(record)

    stack.fail = fail
    for _ in range(6):
        stack.journal.append(CALL, b"x")
    await stack.writer.drain()
    assert [row[0] for row in await stack.rows()] == [1, 3, 4, 5, 6]


async def test_a_journal_that_cannot_be_read_is_read_again_later(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    fold_slice = stack.writer._folding.fold_slice
    failures = [OSError(24, "Too many open files"), RuntimeError("a fault of ours")]

    def fails_twice(last_sequence: int) -> bool:
        if failures and last_sequence:
            raise failures.pop()
        return fold_slice(last_sequence)

    monkeypatch.setattr(stack.writer._folding, "fold_slice", fails_twice)
    stack.journal.append(CALL, b"x")
    await stack.writer.drain()
    assert await stack.rows() == [(1, "x")]
    await until(lambda: stack.journal.available)


async def test_write_returns_what_its_function_returned_after_the_commit(stack: Stack) -> None:
    def add(connection: sqlite3.Connection) -> int:
        return connection.execute("INSERT INTO folded VALUES (5, 'five')").rowcount

    assert await stack.writer.write(add) == 1
    assert await stack.rows() == [(5, "five")]


async def test_a_write_and_its_ledger_entries_are_kept_together_or_not_at_all(stack: Stack) -> None:
    def fails(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO folded VALUES (1, 'x')")
        raise KeyError("no")

    event = LedgerEvent("admin_action", "key:1", "thing", "create", {})
    await stack.writer.write(lambda connection: None, [event])
    with pytest.raises(KeyError):
        await stack.writer.write(fails, [event])
    assert await stack.rows() == []
    entries = await stack.database.read(lambda connection: connection.execute("SELECT action FROM entries").fetchall())
    assert entries == [("create",)]


async def test_a_write_may_name_its_events_while_it_runs(stack: Stack) -> None:
    events: list[LedgerEvent] = []

    def add(connection: sqlite3.Connection) -> None:
        events.append(LedgerEvent("admin_action", "key:1", "thing:7", "made here", {}))

    await stack.writer.write(add, events)
    entries = await stack.database.read(lambda connection: connection.execute("SELECT action FROM entries").fetchall())
    assert entries == [("made here",)]


async def test_a_write_that_finds_the_disk_full_fails_with_its_code(stack: Stack) -> None:
    def fails(connection: sqlite3.Connection) -> None:
        full(Record(1, 1, []))

    with pytest.raises(StockyardError) as caught:
        await stack.writer.write(fails)
    assert (caught.value.code, caught.value.status) == ("database_full", 503)


async def test_writes_of_many_run_one_after_the_other_while_records_are_folded(stack: Stack) -> None:
    def add_one(connection: sqlite3.Connection) -> int:
        (value,) = connection.execute("SELECT coalesce(max(sequence), 0) FROM folded WHERE text = 'count'").fetchone()
        connection.execute("INSERT INTO folded VALUES (?, 'count')", (value + 1,))
        return int(value) + 1

    for _ in range(500):
        stack.journal.append(CALL, b"call")
    counted = await asyncio.gather(*(stack.writer.write(add_one) for _ in range(50)))
    await stack.writer.drain()
    assert sorted(counted) == list(range(1, 51))
    assert len(await stack.rows()) == 550


async def test_close_folds_what_is_left_and_leaves_no_segment(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    stack.writer.start()
    for _ in range(50):
        stack.journal.append(CALL, b"x")
    await stack.close()
    assert [path.name for path in (tmp_path / "journal").iterdir()] == ["reserve"]
    connection = sqlite3.connect(tmp_path / "test.db")
    assert connection.execute("SELECT count(*) FROM folded").fetchone() == (50,)
    connection.close()


async def test_after_close_nothing_is_written(stack: Stack) -> None:
    await stack.close()
    with pytest.raises(StockyardError) as caught:
        await stack.writer.write(lambda connection: None)
    assert caught.value.code == "draining"


async def test_what_was_left_unfolded_is_folded_at_the_next_start_exactly_once(tmp_path: Path) -> None:
    first = Stack(tmp_path)
    for index in range(20):
        first.journal.append(CALL, b"%d" % index)
    first.writer.start()
    await first.writer.drain()
    await first.close()
    second = Stack(tmp_path)
    for index in range(20, 40):
        second.journal.append(CALL, b"%d" % index)
    second.connection.close()
    third = Stack(tmp_path)
    third.writer.start()
    await third.writer.drain()
    assert await third.rows() == [(index + 1, str(index)) for index in range(40)]
    await third.close()


async def test_a_database_over_its_limit_refuses_calls_until_something_is_deleted(stack: Stack) -> None:
    def fill(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO folded VALUES (0, ?)", ("x" * 2_000_000,))

    await stack.writer.write(fill)
    stack.writer.limit_database(1_000_000)
    await until(lambda: not stack.journal.available)
    assert "1000000 bytes (max_database_bytes)" in stack.journal.reason
    stack.journal.append(CALL, b"was in flight")
    await stack.writer.drain()
    assert (1, "was in flight") in await stack.rows()
    await stack.writer.write(lambda connection: connection.execute("DELETE FROM folded WHERE sequence = 0").rowcount)
    await until(lambda: stack.journal.available)


async def test_a_lifted_limit_lets_calls_in_again(stack: Stack) -> None:
    stack.writer.limit_database(1)
    await until(lambda: not stack.journal.available)
    stack.writer.limit_database(0)
    await until(lambda: stack.journal.available)


async def test_a_limit_of_the_settings_does_not_loosen_the_plans(stack: Stack) -> None:
    stack.writer.limit_database(1)
    stack.writer.limit_database(1 << 30, by="settings")
    await until(lambda: not stack.journal.available)
    assert "limit of 1 bytes" in stack.journal.reason


async def test_folded_segments_are_removed_while_it_runs(tmp_path: Path) -> None:
    stack = Stack(tmp_path, segment_bytes=2000)
    stack.writer.start()
    for _ in range(100):
        stack.journal.append(CALL, b"x" * 100)
    await stack.writer.drain()
    await until(lambda: len(list((tmp_path / "journal").glob("*.seg"))) == 1)
    await stack.close()
