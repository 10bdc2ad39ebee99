"""The one writer of the database: a thread that folds the journal in small slices and runs every other write between."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from instance.core.database import Database
from instance.core.errors import StockyardError
from instance.core.folding import Fold, Folding, StorageFailed, Transaction, storage_failed
from instance.core.jobs import Drain, Job, Waiter
from instance.core.jobs import LedgerEvent as LedgerEvent
from instance.core.journal import Journal
from instance.core.records import Record as Record
from instance.core.size_limit import SizeLimit

T = TypeVar("T")

FOLD_S = 0.05
"""From the first unfolded record to its fold: what comes meanwhile is folded with it."""
YIELD_S = 0.0005
"""Between two batches, so that the event loop's thread runs; left out while more than `HURRY_BYTES` wait."""
HURRY_BYTES = 4 << 20
BACK_OFF_S = 0.05
BACK_OFF_MAX_S = 2.0
CLOSE_S = 5.0

STORAGE = "storage"

log = logging.getLogger("stockyard.writer")


AppendLedger = Callable[[sqlite3.Connection, Sequence[LedgerEvent]], object]


class Writer:
    """Folds the journal at least every 100 ms and runs `write()` jobs between two batches of about 2 ms.

    While the database cannot be written, folding is repeated with back-off and nothing is dropped; `write()` fails.
    """

    def __init__(
        self, database: Database, journal: Journal, connection: sqlite3.Connection, folded_sequence: int = 0
    ) -> None:
        self.append_ledger: AppendLedger | None = None
        """How the ledger entries of `write()` are appended; set by the ledger's owner before the first of them."""
        self._database = database
        self._journal = journal
        self._connection = connection
        self._folding = Folding(connection, journal, folded_sequence)
        self._folding.pause = self._pause
        self._size_limit = SizeLimit(connection, journal)
        self._jobs: deque[Job] = deque()
        self._drains: deque[Drain] = deque()
        self._wake = journal.appended
        self._stopping = False
        self._closed = False
        self._back_off_s = 0.0
        self._behind_since = 0.0
        self._threads: list[threading.Thread] = []

    @property
    def lag_bytes(self) -> int:
        """Bytes of the journal that are not in the database yet."""
        return self._journal.lag_bytes

    @property
    def lag_ms(self) -> int:
        """How long the oldest unfolded record has waited, within the interval of folding; 0 when all is folded."""
        since = self._behind_since
        return round((time.monotonic() - since) * 1000) if since and self._journal.lag_bytes else 0

    @property
    def idle(self) -> bool:
        """Nothing is left to fold or to write."""
        return not self._jobs and not self._journal.lag_bytes

    @property
    def stats(self) -> dict[str, int]:
        """Since the start: records folded and rejected, and the thread's own time for it in nanoseconds."""
        folding = self._folding
        return {"folded": folding.records, "rejected": folding.rejected, "fold_cpu_ns": folding.cpu_ns}

    def register(self, kind: int, fold: Fold) -> None:
        """Fold records of `kind` by this function too: several run in the order of registration, on the same list.

        All must be registered before `start`.
        """
        self._folding.register(kind, fold)

    def limit_database(self, max_bytes: int, by: str = "plan") -> None:
        """Block the journal while the database is larger than this; 0: no limit. The lowest limit of any `by` holds."""
        self._size_limit.set(max_bytes, by)
        self._wake.set()

    def fold_before(self, journal: Journal) -> None:
        """Fold the journal of an epoch that ends, and remove it; before `start`. Raises `StorageFailed`: repeat it then."""
        folding = self._folding.of(journal)
        while folding.fold_slice(journal.sequence):
            pass
        folding.close()
        journal.close(self._database.sync_log)
        self._folding = folding.of(self._journal)

    def start(self) -> None:
        """Begin to fold, first of all what an earlier process left."""
        self._threads = [
            threading.Thread(target=self._run, name="writer", daemon=True),
            threading.Thread(
                target=self._journal.sync_forever, args=(self._database.sync_log,), name="journal-sync", daemon=True
            ),
        ]
        for thread in self._threads:
            thread.start()

    async def write(self, run: Callable[[sqlite3.Connection], T], events: Sequence[LedgerEvent] = ()) -> T:
        """What `run(connection)` returns, after it and the ledger entries of `events` were committed together.

        `events` is read after `run` returned, so `run` may fill it. Raises what `run` raised, and then nothing of it is
        kept; `database_full` when the disk or the database is full.
        """
        if self._stopping:
            raise StockyardError("draining", "This instance is about to stop; nothing can be changed any more.")
        job = Job(run, events, Waiter.here())
        self._jobs.append(job)
        self._wake.set()
        result: T = await job.waiter.future
        return result

    async def drain(self) -> None:
        """Return when everything appended until now is folded. While the storage fails it waits: bound it."""
        if self._folding.sequence >= self._journal.sequence and self._journal.lag_bytes == 0:
            return
        drain = Drain(self._journal.sequence, Waiter.here())
        self._drains.append(drain)
        self._wake.set()
        await drain.waiter.future

    async def close(self) -> None:
        """Run what is queued, fold what is left (for at most 5 s while the storage fails), close connection and journal."""
        if self._closed:
            return
        self._closed = True
        self._stopping = True
        self._wake.set()
        self._journal.stop()
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        for thread in self._threads:
            thread.join()
        self._folding.close()
        try:
            self._journal.close(self._database.sync_log)
        except OSError as error:
            log.error("the journal could not be tidied up: %s", error)
        self._connection.close()

    def _run(self) -> None:
        deadline = float("inf")
        while True:
            began = time.monotonic()
            self._run_jobs()
            caught_up = self._fold_until(self._journal.sequence)
            self._answer_drains()
            if caught_up:
                self._size_limit.check()
            if self._stopping:
                deadline = min(deadline, began + CLOSE_S)
                if (caught_up and not self._jobs) or time.monotonic() > deadline:
                    break
            self._rest(began)

    def _rest(self, began: float) -> None:
        """Sleep until there is something to do: a job at once, records gathered for `FOLD_S`."""
        if self._back_off_s:
            self._wake.wait(self._back_off_s)
            self._wake.clear()
            return
        journal = self._journal
        if journal.sequence == self._folding.sequence:
            self._behind_since = 0.0
            journal.reader_waits = True
            if journal.sequence == self._folding.sequence and not self._jobs and not self._stopping:
                self._wake.wait()
            journal.reader_waits = False
            self._wake.clear()
            began = time.monotonic()
        self._behind_since = began
        while not (self._jobs or self._drains or self._stopping):
            left = began + FOLD_S - time.monotonic()
            if left <= 0:
                break
            self._wake.wait(left)
            self._wake.clear()

    def _fold_until(self, sequence: int) -> bool:
        """Fold slice by slice up to `sequence`; whether the storage took it."""
        try:
            while self._folding.fold_slice(sequence):
                if self._pause():
                    continue
                self._run_jobs()
        except (StorageFailed, OSError) as error:
            return self._back_off(f"the database cannot be written ({error})")
        except Exception as error:  # a fault of ours must not end the thread: everything would wait for ever
            log.exception("folding failed")
            return self._back_off(f"folding fails ({type(error).__name__}: {error})")
        if self._back_off_s:
            self._back_off_s = 0.0
            self._journal.unblock(STORAGE)
        return True

    def _pause(self) -> bool:
        """Let the event loop's thread run between two batches; whether no job waits for its turn."""
        if self._journal.lag_bytes < HURRY_BYTES:
            time.sleep(YIELD_S)
        return not self._jobs

    def _back_off(self, reason: str) -> bool:
        self._journal.block(STORAGE, reason)
        self._back_off_s = min(BACK_OFF_MAX_S, 2 * self._back_off_s or BACK_OFF_S)
        return False

    def _run_jobs(self) -> None:
        while self._jobs:
            job = self._jobs.popleft()
            self._size_limit.expire()
            try:
                result = self._run_job(job)
            except BaseException as error:  # handed to the one who waits for it
                job.waiter.answer(error=error)
            else:
                job.waiter.answer(result)

    def _run_job(self, job: Job) -> Any:
        try:
            with Transaction(self._connection) as connection:
                result = job.run(connection)
                if job.events:
                    if self.append_ledger is None:
                        raise RuntimeError("no ledger is attached to the writer")
                    self.append_ledger(connection, job.events)
            return result
        except Exception as error:
            if storage_failed(error):
                raise StockyardError(
                    "database_full", f"The database cannot be written now: {error}.", headers={"Retry-After": "5"}
                ) from error
            raise

    def _answer_drains(self) -> None:
        drains = self._drains
        while drains and drains[0].sequence <= self._folding.sequence:
            drains.popleft().waiter.answer()
