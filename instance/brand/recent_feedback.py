"""The judgements of the last days in memory, for the share of bad ones that alerts ask for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from instance.core.timestamps import NS_PER_S

KEPT_MAX = 10_000
KEPT_NS = 7 * 86_400 * NS_PER_S
NARROWED_BY = ("provider", "model", "team")


class _Judged(NamedTuple):
    at_ns: int
    bad: bool
    provider: str
    model: str
    team: str

    def fits(self, narrowed: Mapping[str, str]) -> bool:
        """Whether it is about a call that is narrowed to; models are globs, with or without their provider."""
        provider, model, team = (narrowed.get(name) for name in NARROWED_BY)
        return (
            provider in (None, self.provider)
            and team in (None, self.team)
            and (model is None or fnmatchcase(self.model, model) or fnmatchcase(f"{self.provider}/{self.model}", model))
        )


class RecentFeedback:
    """At most `KEPT_MAX` judgements; a later one of the same person on the same call takes the place of the earlier."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], _Judged] = OrderedDict()

    def add(self, row: Mapping[str, Any]) -> None:
        """Take in a row of the table `feedback`."""
        name = (row["trace_id"], row["rater"])
        self._kept[name] = _Judged(
            row["created_at_ns"], row["score"] < 0, row["provider"], row["model"], row["team_id"]
        )
        self._kept.move_to_end(name)
        if len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)

    def bad_pct(self, narrowed: Mapping[str, str], since_ns: int) -> float | None:
        """Percent of the judgements since then that are bad, of the calls that `narrowed` names by provider, model and team;
        `None` without any, or where it names something else."""
        if not narrowed.keys() <= set(NARROWED_BY):
            return None
        count = bad = 0
        for judged in reversed(self._kept.values()):
            if judged.at_ns < since_ns:
                break
            if judged.fits(narrowed):
                count += 1
                bad += judged.bad
        return 100.0 * bad / count if count else None
