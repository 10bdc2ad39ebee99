"""What rateshield can be told to limit, by whom it counts, and one limit at work."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fnmatch import translate
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from instance.chute.call_identity import key_id
from instance.chute.exchange import Exchange
from instance.chute.modules.cost.rate_limits import PER_NS, Arrivals, openai_duration

By = Literal["global", "key", "user", "team", "client", "address", "model"]
MS = 1_000_000
LAST_MS = 999 * MS
"""Durations up to it are written in milliseconds."""


class Limit(BaseModel):
    """So many requests or tokens in a time, for each subject."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: By = Field(description="Whose calls are counted together.")
    match: str = Field(default="*", max_length=256, description="Glob of the subjects that it holds for.")
    requests: int | None = Field(default=None, ge=1, le=10**9, description="Requests in the time.")
    tokens: int | None = Field(default=None, ge=1, le=10**12, description="Tokens in the time, in and out.")
    per: Literal["second", "minute", "hour", "day"] = Field(description="The time.")
    burst: int | None = Field(default=None, ge=1, le=10**12, description="How many at once; unset: all of the time's.")

    @model_validator(mode="after")
    def _one_of_them(self) -> Limit:
        if (self.requests is None) == (self.tokens is None):
            raise ValueError("give either requests or tokens")
        return self


class ConcurrencyLimit(BaseModel):
    """So many calls at once, for each subject."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: By = Field(description="Whose calls are counted together.")
    max: int = Field(ge=1, le=100_000, description="Calls at once.")


SUBJECTS: dict[str, Callable[[Exchange], str]] = {
    "global": lambda x: "*",
    "key": key_id,
    "user": lambda x: x.user,
    "team": lambda x: x.team,
    "client": lambda x: x.client,
    "address": lambda x: x.client_ip,
    "model": lambda x: x.model_requested,
}
"""What a limit counts by; a call for which that is empty is not counted."""


class LimitRule:
    """One limit at work."""

    __slots__ = (
        "_said",
        "arrivals",
        "by",
        "counts_tokens",
        "left_name",
        "limit",
        "limit_line",
        "matches",
        "reset_name",
        "subject",
    )

    def __init__(self, limit: Limit, before: LimitRule | None) -> None:
        count = limit.requests or limit.tokens or 1
        self.limit = limit
        self.by = limit.by
        self.subject = SUBJECTS[limit.by]
        self.counts_tokens = limit.tokens is not None
        self.arrivals: Arrivals = Arrivals(
            count,
            PER_NS[limit.per],
            limit.burst or count,
            before.arrivals.handed_over() if before is not None else None,
        )
        self.matches = None if limit.match == "*" else re.compile(translate(limit.match)).match
        name = b"tokens" if self.counts_tokens else b"requests"
        self.limit_line = b"x-ratelimit-limit-" + name, b"%d" % count
        self.left_name = b"x-ratelimit-remaining-" + name
        self.reset_name = b"x-ratelimit-reset-" + name
        self._said: tuple[int, int, tuple[tuple[bytes, bytes], ...]] = (-1, -1, ())

    def said(self, left: int, reset_ns: int) -> tuple[tuple[bytes, bytes], ...]:
        """`x-ratelimit-*`, as OpenAI writes them. Much the same is said again and again where few calls come."""
        reset_ms = -(-reset_ns // MS)
        said_left, said_ms, lines = self._said
        if left != said_left or reset_ms != said_ms:
            reset = b"%dms" % reset_ms if reset_ns < LAST_MS else openai_duration(reset_ns).encode()
            lines = self.limit_line, (self.left_name, b"%d" % left), (self.reset_name, reset)
            self._said = left, reset_ms, lines
        return lines


def succeeding(before: Sequence[LimitRule], limits: Sequence[Limit]) -> list[LimitRule]:
    """The limits at work in the place of others, with what was counted by those. Each is taken over once: two limits of the same
    subjects (so many a second, so many a minute) count apart, so the one of the same time comes before any other."""
    left = list(before)
    found: list[LimitRule | None] = [None] * len(limits)
    for same_time in (True, False):
        for place, limit in enumerate(limits):
            if found[place] is None:
                kept = next((rule for rule in left if _same_subjects(rule.limit, limit, same_time=same_time)), None)
                if kept is not None:
                    left.remove(kept)
                    found[place] = kept
    return [LimitRule(limit, kept) for limit, kept in zip(limits, found, strict=True)]


def _same_subjects(one: Limit, other: Limit, *, same_time: bool) -> bool:
    alike = one.by == other.by and one.match == other.match and (one.tokens is None) == (other.tokens is None)
    return alike and (not same_time or one.per == other.per)
