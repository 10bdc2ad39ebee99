"""The largest that the database may become: above it the journal takes no new calls until something was deleted."""

from __future__ import annotations

import logging
import sqlite3
import time

from instance.core.journal import Journal

CAUSE = "database_limit"
CHECK_S = 0.25

log = logging.getLogger("stockyard.writer")


class SizeLimit:
    """Compares the pages in use with the lowest of several limits. What is appended already is folded all the same."""

    def __init__(self, connection: sqlite3.Connection, journal: Journal) -> None:
        self._connection = connection
        self._journal = journal
        self._limits: dict[str, int] = {}
        self._next_check = 0.0

    def set(self, max_bytes: int, by: str) -> None:
        """The limit that `by` imposes; 0: none."""
        self._limits[by] = max_bytes
        self.expire()

    def expire(self) -> None:
        """Let the next `check` look again, however short the last one is ago."""
        self._next_check = 0.0

    def check(self) -> None:
        """Block or unblock the journal; looks at most each `CHECK_S`. The writer's thread alone calls it."""
        now = time.monotonic()
        if now < self._next_check:
            return
        self._next_check = now + CHECK_S
        limit = min((limit for limit in self._limits.values() if limit), default=0)
        try:
            over = bool(limit) and self._used_bytes() > limit
        except sqlite3.Error as error:
            log.error("the database's size cannot be read: %s", error)
            return
        if over:
            self._journal.block(CAUSE, f"the database has reached its limit of {limit} bytes (max_database_bytes)")
        else:
            self._journal.unblock(CAUSE)

    def _used_bytes(self) -> int:
        execute = self._connection.execute
        pages, free, size = (
            int(execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size
