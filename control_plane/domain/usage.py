"""Which part of an instance's reading has not been counted yet, and on which day it belongs: one arithmetic for the whole
instance, for each key and for each model. Readings in, gains out.

An instance's counters only grow within an epoch, so the gain is how far a counter rose above the highest value that was
counted. The gain is laid on days from the newest back: as much on each as the instance counted on that day, the rest on
the day of the reading before (or, when the instance's days do not reach back so far, on the oldest it could be).
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from control_plane.domain.state import NANO_PER_USD

COUNTERS = ("requests", "errors", "tokens_in", "tokens_out", "cost_nano", "bytes_out")
MODEL_CHARACTERS = 200

Counters = Mapping[str, int]  # one value for each of COUNTERS


class Subject(NamedTuple):
    """Whose counters: the whole instance, a key by its id, or a model by its name."""

    kind: str  # whole | key | model
    name: str = ""


WHOLE = Subject("whole")


@dataclass(frozen=True, slots=True)
class Reading:
    """Cumulative counters of one epoch, and beside them what of it was counted on each of the last days (UTC)."""

    counters: Mapping[Subject, Counters]
    days: Mapping[str, Mapping[Subject, Counters]] = field(default_factory=dict)
    storage_bytes: int = 0
    last_used_at: Mapping[int, float] = field(default_factory=dict)  # by key id, seconds since 1970


@dataclass(frozen=True, slots=True)
class Counted:
    """How far a subject's counters have been counted, and the day (ISO, UTC) of the reading that did it."""

    day: str
    counters: Counters


def reading_from(document: Mapping[str, Any]) -> Reading:
    """The answer of `GET /api/instance/usage`. Raises KeyError, TypeError or ValueError when it is none.

    Calls without a key of the control plane's are in the whole alone; so are names of models too long to be kept.
    """
    by_key = document.get("by_key") or {}
    last_used = {int(key): each.get("last_request_at") for key, each in by_key.items() if _is_key(key)}
    days = {str(day): _subjects(each) for day, each in (document.get("by_day") or {}).items()}
    return Reading(
        counters=_subjects(document),
        days=days,
        storage_bytes=int(document.get("storage_bytes") or 0),
        last_used_at={key: datetime.fromisoformat(at).timestamp() for key, at in last_used.items() if at},
    )


class Origin(NamedTuple):
    """How an epoch's database began: as a copy or empty, and out of which epoch of the same tenant."""

    copied: bool
    parent: int | None


def compared_with(epoch: int, origins: Mapping[int, Origin], read: Container[int]) -> int | None:
    """The epoch whose count a copy's first reading is compared with: the nearest before it that was `read` or began empty.

    None when there is none in this tenant: the first reading is then a base that was counted elsewhere.
    """
    n, origin = epoch, origins.get(epoch)
    while origin is not None and origin.copied and origin.parent is not None and origin.parent < n:
        n, origin = origin.parent, origins.get(origin.parent)
        if n in read or (origin is not None and not origin.copied):
            return n
    return None


@dataclass(frozen=True, slots=True)
class Count:
    """What a reading changes: the gains to be added, and how far its epoch and the epoch before are counted then."""

    gains: Mapping[tuple[str, Subject], Counters]
    counted: Mapping[Subject, Counted]
    counted_before: Mapping[Subject, Counted] = field(default_factory=dict)


def count(
    reading: Reading,
    counted: Mapping[Subject, Counted],
    today: str,
    *,
    copied: bool,
    before: Mapping[Subject, Counted] | None = None,
) -> Count:
    """Count a reading of an epoch that is `counted` so far; `before` is the count of the epoch it is `compared_with`.

    A copy's first reading holds what that epoch's held when the copy was made. What of that was never counted is counted now,
    and that epoch's count is raised to it: another copy does not count it again.
    """
    if not copied or WHOLE in counted or before is None:
        return Count(gains(reading, counted, today, copied=copied), counted_now(reading, counted, today))
    return Count(
        gains(reading, before, today, copied=False),
        counted_now(reading, {}, today),
        counted_now(reading, before, today),
    )


def gains(
    reading: Reading, counted: Mapping[Subject, Counted], today: str, *, copied: bool
) -> dict[tuple[str, Subject], Counters]:
    """What this reading adds to the records of each day and subject; zeros are left out.

    `copied`: the epoch's database began as a copy of another's, so its first reading is a base that was counted before.
    """
    if copied and WHOLE not in counted:
        return {}
    found: dict[tuple[str, Subject], Counters] = {}
    for subject, now in reading.counters.items():
        before = counted.get(subject)
        gain = {name: max(0, now[name] - (before.counters[name] if before else 0)) for name in COUNTERS}
        whole = counted.get(WHOLE)
        since = before.day if before else whole.day if whole else None
        for day, share in _by_day(gain, reading, subject, since, today).items():
            if any(share.values()):
                found[day, subject] = share
    return found


def counted_now(reading: Reading, counted: Mapping[Subject, Counted], today: str) -> dict[Subject, Counted]:
    """How far each subject of the reading is counted once its gains are: never less than before."""
    found: dict[Subject, Counted] = {}
    for subject, now in reading.counters.items():
        before = counted.get(subject)
        if before is None:
            found[subject] = Counted(today, now)
        else:
            highest = {name: max(before.counters[name], now[name]) for name in COUNTERS}
            found[subject] = Counted(today, highest)
    return found


def _by_day(gain: Counters, reading: Reading, subject: Subject, since: str | None, today: str) -> dict[str, Counters]:
    """The gain of one subject laid on days; the shares add up to it exactly."""
    listed = sorted((day for day in reading.days if day <= today and (since is None or day > since)), reverse=True)
    left = dict(gain)
    shares: dict[str, Counters] = {}
    for day in listed:
        of_day = reading.days[day].get(subject)
        if of_day is not None:
            shares[day] = {name: min(left[name], of_day[name]) for name in COUNTERS}
            left = {name: left[name] - shares[day][name] for name in COUNTERS}
    rest = today
    if reading.days and since is not None:
        rest = min(since, today)
    elif listed:
        rest = listed[-1]
    known = shares.get(rest)
    shares[rest] = {name: left[name] + (known[name] if known else 0) for name in COUNTERS}
    return shares


def _subjects(document: Mapping[str, Any]) -> dict[Subject, Counters]:
    found: dict[Subject, Counters] = {WHOLE: _counters(document)}
    for key, each in (document.get("by_key") or {}).items():
        if _is_key(key):
            found[Subject("key", str(int(key)))] = _counters(each)
    for model, each in (document.get("by_model") or {}).items():
        if len(model) <= MODEL_CHARACTERS:
            found[Subject("model", model)] = _counters(each)
    return found


def _is_key(name: str) -> bool:
    return name.isascii() and name.isdigit() and 0 < int(name) < 2**31


def _counters(document: Mapping[str, Any]) -> Counters:
    cost = document.get("cost_nano")
    values = {name: int(document.get(name) or 0) for name in COUNTERS if name != "cost_nano"}
    values["requests"] = int(document["requests"])
    values["cost_nano"] = int(cost) if cost is not None else round(float(document.get("cost_usd") or 0) * NANO_PER_USD)
    return values
