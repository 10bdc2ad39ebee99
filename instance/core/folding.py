"""Folding: records of the journal become rows, each slice in one transaction together with how far that brought us.

A slice is folded in batches of at most 2 ms of computing, with pauses between them inside the transaction.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import attrgetter

from instance.core.bulk_insert import ROWS
from instance.core.journal import Journal
from instance.core.journal_reader import JournalReader
from instance.core.records import Record, encode

Fold = Callable[[sqlite3.Connection, Sequence[Record]], None]
"""Writes records of one kind, in order. May run again for the same records after a rollback: it keeps nothing in memory
that a rollback would have to undo."""

BATCH_NS = 2_000_000
"""Of the thread's time between two pauses, in which the event loop's thread runs undisturbed."""
BATCH_RECORDS_MAX = 64
SLICE_RECORDS_MAX = 512
"""In one transaction: each rewrites the last page of every index, whether one record came or hundreds."""
SLICE_BYTES_MAX = 4 << 20

log = logging.getLogger("stockyard.writer")

_STORAGE_CODES = frozenset(
    (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    )
)


class StorageFailed(Exception):
    """The database cannot be written now: the disk is full or failing. Repeating may help, another record will not."""


def storage_failed(error: BaseException) -> bool:
    """Whether it is the storage that failed, not what was to be stored."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, sqlite3.Error) and (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _STORAGE_CODES


class Transaction:
    """`with Transaction(connection):` commits at the end and rolls back when anything is raised."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> sqlite3.Connection:
        self._connection.execute("BEGIN IMMEDIATE")
        return self._connection

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            try:
                self._connection.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise
        else:
            self._roll_back()

    def _roll_back(self) -> None:
        if self._connection.in_transaction:  # a full disk rolls back by itself
            self._connection.execute("ROLLBACK")


class Folding:
    """Folds what the journal holds, slice by slice. Used by the writer's thread alone."""

    def __init__(self, connection: sqlite3.Connection, journal: Journal, folded_sequence: int) -> None:
        self.sequence = folded_sequence
        """Of the last record that is folded and committed."""
        self.records = 0
        self.rejected = 0
        self.cpu_ns = 0
        self.pause: Callable[[], bool] = lambda: True
        """Called between two batches of a slice; whether to go on with it instead of committing what there is."""
        self._connection = connection
        self._journal = journal
        self._reader = JournalReader(journal, folded_sequence)
        self._folds: dict[int, list[Fold]] = {}
        self._record_ns = BATCH_NS // 16

    def of(self, journal: Journal) -> Folding:
        """The same for another journal of this database, from where this one came to."""
        other = Folding(self._connection, journal, self.sequence)
        other.records, other.rejected, other.cpu_ns = self.records, self.rejected, self.cpu_ns
        other.pause, other._folds = self.pause, self._folds
        return other

    def register(self, kind: int, fold: Fold) -> None:
        """Fold records of `kind` by this function too."""
        self._folds.setdefault(kind, []).append(fold)

    def fold_slice(self, last_sequence: int) -> bool:
        """Fold the next records up to `last_sequence` in one transaction; whether there were any.

        Raises `StorageFailed` when the database cannot be written; then nothing is lost, and it can be repeated.

        A record that a fold refuses is kept whole in `journal_rejected`, and the others go on.
        """
        started = time.thread_time_ns()
        batch = self._next_batch(last_sequence, [])
        if not batch:
            return False
        records: list[Record] = []
        size = 0
        try:
            with Transaction(self._connection):
                while batch:
                    records += batch
                    self._fold(batch)
                    size += sum(record.size for record in batch)
                    batch = self._next_batch(last_sequence, records)
                    if batch and (size >= SLICE_BYTES_MAX or not self.pause()):
                        self._reader.give_back(batch)
                        break
                self._set_position(records[-1])
        except Exception as error:  # found out one by one below, and recorded there
            if storage_failed(error):
                self._reader.give_back(records)
                raise StorageFailed(str(error)) from error
            self._one_by_one(records)
        else:
            self._committed(records)
        took = time.thread_time_ns() - started
        self.cpu_ns += took
        self._record_ns = max(1, (3 * self._record_ns + took // len(records)) // 4)
        return True

    def close(self) -> None:
        """Give up the open segment."""
        self._reader.close()

    def _next_batch(self, last_sequence: int, before: list[Record]) -> list[Record]:
        """Records for `BATCH_NS`, behind those that the slice has; whole statements of `BulkInsert` if there is time."""
        count = min(BATCH_RECORDS_MAX, max(1, BATCH_NS // self._record_ns))
        if count > ROWS:
            count -= count % ROWS
        folded = before[-1].sequence if before else self.sequence
        count = min(count, last_sequence - folded, SLICE_RECORDS_MAX - len(before))
        return self._reader.take(count) if count > 0 else []

    def _fold(self, records: list[Record]) -> None:
        for kind, run in groupby(records, attrgetter("kind")):
            folds = self._folds.get(kind)
            if not folds:
                raise LookupError(f"nothing here folds records of kind {kind}")
            batch = list(run)
            for fold in folds:
                fold(self._connection, batch)

    def _fold_alone(self, record: Record) -> None:
        with Transaction(self._connection):
            self._fold([record])
            self._set_position(record)
        self._committed([record])

    def _one_by_one(self, records: list[Record]) -> None:
        for index, record in enumerate(records):
            try:
                try:
                    self._fold_alone(record)
                except Exception as error:  # kept with the record, and logged
                    if storage_failed(error):
                        raise
                    self._reject(record, error)
            except Exception as error:
                self._reader.give_back(records[index:])
                raise StorageFailed(str(error)) from error

    def _reject(self, record: Record, error: Exception) -> None:
        reason = f"{type(error).__name__}: {error}"
        log.error("record %d of the journal cannot be folded and was set aside: %s", record.sequence, reason)
        with Transaction(self._connection) as connection:
            connection.execute(
                "INSERT OR REPLACE INTO journal_rejected (epoch, sequence, kind, frame, error, rejected_at_ns) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (
                    self._journal.epoch,
                    record.sequence,
                    record.kind,
                    encode(record.sequence, record.kind, record.parts),
                    reason[:2000],
                    time.time_ns(),
                ),
            )
            self._set_position(record)
        self.rejected += 1
        self._committed([record])

    def _set_position(self, last: Record) -> None:
        self._connection.execute(
            "UPDATE journal_position SET epoch = ?, sequence = ?, segment = ? WHERE one = 1",
            (self._journal.epoch, last.sequence, last.segment),
        )

    def _committed(self, records: list[Record]) -> None:
        self.records += len(records)
        self.sequence = records[-1].sequence
        self._journal.folded(sum(record.size for record in records), records[-1].segment)
