"""How the queue works: what the module batchqueue is configured with."""

from __future__ import annotations

from dataclasses import dataclass, field

DAY_MINUTES = 24 * 60
MINUTE_NS = 60_000_000_000


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """Limits and times; 0 is none. `window` is minutes of the UTC day, from and to, over midnight where from is later."""

    concurrency: int = 4
    per_provider: dict[str, int] = field(default_factory=dict)
    per_team: int = 0
    max_attempts: int = 3
    window: tuple[int, int] | None = None
    max_jobs: int = 100_000
    max_body_bytes: int = 1 << 20
    keep_ns: int = 0
    weights: dict[str, int] = field(default_factory=dict)
    expire_ns: int = 0

    def is_open(self, wall_ns: int) -> bool:
        """Whether jobs may start at this time."""
        if self.window is None:
            return True
        start, end = self.window
        minute = wall_ns // MINUTE_NS % DAY_MINUTES
        return start <= minute < end if start <= end else minute >= start or minute < end

    def opens_ns(self, wall_ns: int) -> int:
        """When jobs may start: this time, or the beginning of the next window."""
        if self.window is None or self.is_open(wall_ns):
            return wall_ns
        minute = wall_ns // MINUTE_NS
        return (minute + (self.window[0] - minute) % DAY_MINUTES) * MINUTE_NS


def read_window(text: str) -> tuple[int, int] | None:
    """`22:00-06:00` as minutes of the day; `None` for an empty text. Raises `ValueError`."""
    if not text:
        return None
    start, dash, end = text.partition("-")
    if not dash:
        raise ValueError("write it as 22:00-06:00")
    return _minute(start), _minute(end)


def _minute(text: str) -> int:
    hour, colon, minute = text.strip().partition(":")
    if not colon or not (hour.isdecimal() and minute.isdecimal()) or int(hour) > 23 or int(minute) > 59:
        raise ValueError(f"{text.strip()!r} is no time of day; write 22:00-06:00")
    return int(hour) * 60 + int(minute)
