"""Removes traces and texts that are older than they may be, a few at a time so that no fold waits for it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from instance.core.core import Core

SLICE_ROWS = 200
LOOKED_AT_ROWS = 2000

_OLDEST_TRACES = "(SELECT n FROM traces WHERE created_at_ns < ? ORDER BY created_at_ns LIMIT ?)"
_OLDEST_OF_TEAM = (
    "(SELECT n FROM traces WHERE team_id = ? AND team_id <> '' AND created_at_ns < ? ORDER BY created_at_ns LIMIT ?)"
)
_TEXTS_AFTER = """
SELECT traces.created_at_ns, traces.n, trace_bodies.n IS NOT NULL
FROM traces LEFT JOIN trace_bodies ON trace_bodies.n = traces.n
WHERE (traces.created_at_ns, traces.n) > (?, ?) AND traces.created_at_ns < ?
ORDER BY traces.created_at_ns, traces.n LIMIT ?
"""

_OLDEST = """
SELECT (SELECT min(created_at_ns) FROM traces),
       (SELECT created_at_ns FROM traces WHERE n = (SELECT min(n) FROM trace_bodies))
"""

Place = tuple[int, int]
"""`created_at_ns` and `n` of a trace."""


class Retention:
    """Remembers up to where texts are gone, so that the next time looks at what has become old since."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._texts_gone_to: Place = (0, 0)

    async def prune(self, rows_before_ns: int, texts_before_ns: int) -> tuple[int, int]:
        """Remove traces that began before the one time and texts of calls that began before the other; how many of each.

        The hourly sums and the ledger keep what they have. 0 removes none.
        """
        return await self._remove_traces(rows_before_ns), await self._remove_texts(texts_before_ns)

    async def prune_team(self, team: str, before_ns: int) -> int:
        """Remove a team's traces that began before the time, with their texts; how many."""
        return await self._removed(_OLDEST_OF_TEAM, (team, before_ns))

    async def due(self, rows_kept_ns: int, texts_kept_ns: int) -> int | None:
        """When the oldest trace or the oldest text there is becomes older than so long; None when there is none."""
        oldest = await self._core.database.read(_oldest)
        kept = (rows_kept_ns, texts_kept_ns)
        return min((at + keep_ns for at, keep_ns in zip(oldest, kept, strict=True) if at is not None), default=None)

    async def _remove_traces(self, before_ns: int) -> int:
        return await self._removed(_OLDEST_TRACES, (before_ns,)) if before_ns > 0 else 0

    async def _removed(self, which: str, parameters: tuple[str | int, ...]) -> int:
        """How many traces of a query for at most so many were removed, slice by slice, until there were no more."""

        def some(connection: sqlite3.Connection) -> int:
            chosen = (*parameters, SLICE_ROWS)
            connection.execute(f"DELETE FROM trace_bodies WHERE n IN {which}", chosen)
            return connection.execute(f"DELETE FROM traces WHERE n IN {which}", chosen).rowcount

        removed = 0
        while True:
            count = await self._core.writer.write(some)
            removed += count
            if count < SLICE_ROWS:
                return removed

    async def _remove_texts(self, before_ns: int) -> int:
        removed = 0
        while True:
            asked = (*self._texts_gone_to, before_ns, LOOKED_AT_ROWS)
            rows = await self._core.database.read(partial(_texts, asked))
            kept = [n for _, n, has_texts in rows if has_texts]
            for start in range(0, len(kept), SLICE_ROWS):
                slice_ = kept[start : start + SLICE_ROWS]
                await self._core.writer.write(partial(_delete_texts, slice_))
            removed += len(kept)
            if rows:
                self._texts_gone_to = rows[-1][:2]
            if len(rows) < LOOKED_AT_ROWS:
                return removed


def _texts(asked: tuple[int, ...], connection: sqlite3.Connection) -> list[tuple[int, int, int]]:
    return connection.execute(_TEXTS_AFTER, asked).fetchall()


def _oldest(connection: sqlite3.Connection) -> tuple[int | None, int | None]:
    found: tuple[int | None, int | None] = connection.execute(_OLDEST).fetchone()
    return found


def _delete_texts(numbers: Sequence[int], connection: sqlite3.Connection) -> None:
    connection.executemany("DELETE FROM trace_bodies WHERE n = ?", [(n,) for n in numbers])
