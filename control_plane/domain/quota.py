"""How much of its plan's calls a tenant used this month, and what it is told of it: once a month at each step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

NEAR_PERCENT = 80


class Step(IntEnum):
    """How far a tenant is. PASSED: served by grace; REFUSED: the grace is used up too, and its instance refuses calls."""

    WITHIN = 0
    NEAR = 1
    PASSED = 2
    REFUSED = 3


@dataclass(frozen=True, slots=True)
class QuotaUsed:
    """What the instance last said; `month` is YYYY-MM (UTC), `noted` the last step that the tenant's events tell of."""

    month: str
    calls: int
    limit: int
    served_most: int
    noted: int = 0

    @property
    def step(self) -> Step:
        """How far it is."""
        if self.calls >= self.served_most:
            return Step.REFUSED
        if self.calls >= self.limit:
            return Step.PASSED
        return Step.NEAR if self.calls * 100 >= self.limit * NEAR_PERCENT else Step.WITHIN


def quota_said(document: Mapping[str, Any] | None) -> QuotaUsed | None:
    """The `quota` of a usage reading; None when the plan has none. Raises KeyError, TypeError or ValueError."""
    if not document:
        return None
    calls, limit, most = (int(document[name]) for name in ("calls", "limit", "served_most"))
    return QuotaUsed(str(document["month"])[:7], calls, limit, most)


def taken(before: QuotaUsed | None, said: QuotaUsed) -> tuple[QuotaUsed, list[Step]]:
    """What is known after the instance said this, and the steps to be told of; a reading of an earlier month is old."""
    if before is not None and said.month < before.month:
        return before, []
    noted = before.noted if before is not None and before.month == said.month else 0
    news = [step for step in Step if noted < step <= said.step]
    return replace(said, noted=max(noted, said.step)), news


def words_for(step: Step, quota: QuotaUsed) -> str:
    """What a step means to the customer."""
    grace = quota.served_most - quota.limit
    match step:
        case Step.NEAR:
            return f"{NEAR_PERCENT} % of the plan's {quota.limit} calls of {quota.month} are used"
        case Step.PASSED:
            return f"the plan's {quota.limit} calls of {quota.month} are used up; {grace} more are served by grace"
        case _:
            return f"the plan's {quota.limit} calls of {quota.month} and its grace of {grace} are used up: calls are refused"
