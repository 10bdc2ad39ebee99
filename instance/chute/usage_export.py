"""Usage as rows for answers and exports: read page by page, written as JSON objects, JSON Lines or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from instance.chute.modules.cost import usage_buckets
from instance.chute.modules.cost.usage_buckets import COUNTS, DAY_S, NS_PER_S, TAG, UsageRow
from instance.core.money import nano_to_usd
from instance.core.timestamps import rfc3339

if TYPE_CHECKING:
    from instance.core.core import Core

PAGE_ROWS = 1000
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class UsageAsked:
    """Which usage: of one dimension, in periods of one unit, or over the whole time (`unit` empty)."""

    dimension: str
    unit: str
    resolution_s: int
    start_s: int
    end_s: int
    value: str | None = None

    async def pages(self, core: Core) -> AsyncIterator[list[dict[str, Any]]]:
        """The rows, oldest period first, within it by value."""
        last: UsageRow | None = None
        while True:
            page = await core.database.read(self._query(last))
            yield [self.shown(row) for row in page]
            if len(page) < PAGE_ROWS:
                return
            last = page[-1]

    def _query(self, last: UsageRow | None) -> Any:
        what = (self.resolution_s, self.start_s, self.end_s, self.dimension)
        if self.unit:
            after = (last.start_s, last.value) if last is not None else (-1, "")
            return partial(_periods, what, self.value, after)
        return partial(_totals, what, self.value, last.value if last is not None else None)

    def shown(self, row: UsageRow) -> dict[str, Any]:
        """A row as a JSON object."""
        counts = dict(zip(COUNTS, row.counts, strict=True))
        begins = rfc3339(row.start_s * NS_PER_S)
        period = {self.unit: begins[:10] if self.resolution_s == DAY_S else begins} if self.unit else {}
        return {
            **period,
            self.dimension: row.value,
            **{name: counts[name] for name in COUNTS if not name.endswith("_nano")},
            "cost_usd": nano_to_usd(counts["cost_nano"]),
            "saved_usd": nano_to_usd(counts["saved_nano"]),
        }

    async def json_lines(self, core: Core) -> AsyncIterator[bytes]:
        """One JSON object a line."""
        async for page in self.pages(core):
            yield b"".join(orjson.dumps(row) + b"\n" for row in page)

    async def csv(self, core: Core) -> AsyncIterator[bytes]:
        """One line of names, then one a row. A value that a spreadsheet would take for a formula begins with an apostrophe."""
        named = [self.unit] if self.unit else []
        columns = [*named, self.dimension, *self.shown(UsageRow(0, "", (0,) * len(COUNTS)))][: len(named) + 1]
        columns += [name for name in self.shown(UsageRow(0, "", (0,) * len(COUNTS))) if name not in columns]
        yield _csv([[name.removeprefix(TAG) for name in columns]])
        async for page in self.pages(core):
            yield _csv([[_cell(row[name]) for name in columns] for row in page])


def _periods(
    what: tuple[int, int, int, str], value: str | None, after: tuple[int, str], connection: Any
) -> list[UsageRow]:
    return usage_buckets.periods(connection, *what, value=value, after=after, limit=PAGE_ROWS)


def _totals(what: tuple[int, int, int, str], value: str | None, after: str | None, connection: Any) -> list[UsageRow]:
    return usage_buckets.totals(connection, *what, value=value, after=after, limit=PAGE_ROWS)


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.9f}"
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value


def _csv(rows: list[list[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
