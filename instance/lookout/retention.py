"""Removes traces and texts that are older than they may be, a few at a time so that no fold waits for it."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from instance.core.core import Core

SLICE_ROWS = 200

_OLDEST_TRACES = "(SELECT n FROM traces WHERE created_at_ns < ? ORDER BY created_at_ns LIMIT ?)"
_OLD_TRACES = (
    f"DELETE FROM trace_bodies WHERE n IN {_OLDEST_TRACES}",
    f"DELETE FROM traces WHERE n IN {_OLDEST_TRACES}",
)
_OLD_BODIES = """
DELETE FROM trace_bodies WHERE n IN (
    SELECT n FROM trace_bodies
    WHERE n <= (SELECT n FROM traces WHERE created_at_ns < ? ORDER BY created_at_ns DESC LIMIT 1)
    ORDER BY n LIMIT ?)
"""


async def prune(core: Core, rows_before_ns: int, bodies_before_ns: int) -> tuple[int, int]:
    """Remove traces that began before the one time and texts of calls that began before the other; how many of each.

    Texts go in the order in which calls were recorded. The hourly sums and the ledger keep what they have.
    """
    return await _remove(core, rows_before_ns, *_OLD_TRACES), await _remove(core, bodies_before_ns, _OLD_BODIES)


async def _remove(core: Core, before_ns: int, *queries: str) -> int:
    def some(connection: sqlite3.Connection) -> int:
        return [connection.execute(query, (before_ns, SLICE_ROWS)).rowcount for query in queries][-1]

    removed = 0
    while before_ns > 0:
        count = await core.writer.write(some)
        removed += count
        if count < SLICE_ROWS:
            break
    return removed
