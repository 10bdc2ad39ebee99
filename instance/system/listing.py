"""What every list has in common: limit, offset or cursor, order, a period of time, and the envelope of its answer."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from instance.core.errors import StockyardError
from instance.core.timestamps import NS_PER_S, parse_time

TOTAL_CAP = 10_000
NS_PER_DAY = 86_400 * NS_PER_S


class Query(BaseModel):
    """Base of a route's query parameters: an unknown one is refused."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class Period(Query):
    """`from` and `to` (RFC 3339 or a date) or `days` back from now; `from` and `to` win."""

    from_: Annotated[str | None, Field(alias="from", description="Start, RFC 3339 or a date; included.")] = None
    to: Annotated[str | None, Field(description="End, RFC 3339 or a date; not included.")] = None
    days: Annotated[int | None, Field(ge=1, le=3660, description="Days back from now.")] = None

    def bounds_ns(self, now_ns: int, default_days: int | None = None) -> tuple[int | None, int | None]:
        """Start (included) and end (not included) in nanoseconds; `None` is open."""
        start = _moment("from", self.from_)
        end = _moment("to", self.to)
        days = self.days or default_days
        if start is None and days is not None and (self.days is None or end is None):
            start = (end or now_ns) - days * NS_PER_DAY
        if start is not None and end is not None and start > end:
            raise StockyardError("invalid_value", "`from` lies after `to`.", param="from")
        return start, end


class ListQuery(Period):
    """The parameters of a list of up to 500 rows."""

    limit: Annotated[int, Field(ge=1, le=500, description="Rows in the answer.")] = 50
    offset: Annotated[
        int, Field(ge=0, le=10**9, description="Rows to skip; a cursor stays right while rows arrive.")
    ] = 0
    cursor: Annotated[str | None, Field(max_length=256, description="`next_cursor` of the answer before.")] = None
    order: Annotated[Literal["asc", "desc"], Field(description="Newest first (desc) or oldest first.")] = "desc"


class LongListQuery(ListQuery):
    """The parameters of a list of up to 1000 rows."""

    limit: Annotated[int, Field(ge=1, le=1000, description="Rows in the answer.")] = 50


def _moment(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_time(text)
    except ValueError:
        message = f"`{name}` must be RFC 3339 (2026-02-28T14:30:00Z) or a date (2026-02-28)."
        raise StockyardError("invalid_value", message, param=name) from None


def write_cursor(*position: int) -> str:
    """An opaque cursor that holds the position of the last row of a page."""
    return urlsafe_b64encode(orjson.dumps(position)).rstrip(b"=").decode()


def read_cursor(cursor: str, width: int) -> tuple[int, ...]:
    """The position in a cursor of `write_cursor`; raises 422 for anything else."""
    try:
        position = orjson.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError:
        position = None
    if not isinstance(position, list) or len(position) != width or not all(type(part) is int for part in position):
        raise StockyardError("invalid_value", "`cursor` is not one that this list gave.", param="cursor")
    return tuple(position)


def envelope(
    name: str, rows: Sequence[Any], *, total: int, capped: bool, next_cursor: str | None, **more: Any
) -> dict[str, Any]:
    """The answer of a list; `next_cursor` is given when more rows follow."""
    answer: dict[str, Any] = {
        name: rows,
        "count": len(rows),
        "total": total,
        "has_more": next_cursor is not None,
        "next_cursor": next_cursor,
    }
    if capped:
        answer["total_capped"] = True
    return answer | more
