"""When a provider wants to be asked again, in every form in which providers say so."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite
from time import time
from typing import Any

import orjson

BODY_LOOKED_AT_BYTES = 16 << 10
EPOCH_MS_FROM = 1_000_000_000_000
"""A plain number from here on is a moment in milliseconds since 1970."""
EPOCH_FROM_S = 1_000_000_000
"""A plain number from here on is a moment (seconds since 1970), below it a duration."""

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|us|µs|ns|d|h|m|s)")
_UNITS_S = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_IN_WORDS = re.compile(
    rb"(?:try again|retry|expected available|available|resets) (?:in|after) ~?((?:\d+(?:\.\d+)?\s*(?:ms|d|h|m|s)(?:ec(?:ond)?s?|in(?:ute)?s?)?\s*)+)"
)

_RESETS = (
    (b"x-ratelimit-reset-requests", b"x-ratelimit-remaining-requests"),
    (b"x-ratelimit-reset-tokens", b"x-ratelimit-remaining-tokens"),
    (b"anthropic-ratelimit-requests-reset", b"anthropic-ratelimit-requests-remaining"),
    (b"anthropic-ratelimit-tokens-reset", b"anthropic-ratelimit-tokens-remaining"),
    (b"anthropic-ratelimit-input-tokens-reset", b"anthropic-ratelimit-input-tokens-remaining"),
    (b"anthropic-ratelimit-output-tokens-reset", b"anthropic-ratelimit-output-tokens-remaining"),
    (b"x-ratelimit-reset", b"x-ratelimit-remaining"),
    (b"ratelimit-reset", b"ratelimit-remaining"),
)


def read_duration(text: str, now_s: float) -> float | None:
    """Seconds in `1.5`, `20s`, `6m0s`, `120ms`, an epoch number, an HTTP date or an RFC 3339 time; `None` for anything else.

    A moment in the past counts as 0; so does a negative number.
    """
    text = text.strip()
    try:
        number = float(text)
    except ValueError:
        pass
    else:
        if not isfinite(number):
            return None
        if number >= EPOCH_MS_FROM:
            number /= 1000
        return max(0.0, number - now_s if number >= EPOCH_FROM_S else number)
    parts = _DURATION.findall(text)
    if parts and "".join(value + unit for value, unit in parts) == text.replace(" ", ""):
        return sum(float(value) * _UNITS_S[unit] for value, unit in parts)
    moment: datetime | None = None
    for read in (_http_date, datetime.fromisoformat):
        try:
            moment = read(text)
        except (ValueError, TypeError, IndexError):
            continue
        break
    if moment is None:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, moment.timestamp() - now_s)


_http_date: Callable[[str], datetime] = parsedate_to_datetime


def retry_after_s(
    status: int, headers: Mapping[bytes, bytes], body: bytes = b"", now_s: float | None = None
) -> float | None:
    """Seconds to wait before the next try, as the provider asks; `None` when it does not say.

    In this order: `retry-after-ms`, `retry-after`; for a 429 also the reset time of the limits that are used up
    (the latest of them), `retryDelay` of Google's error details, Replicate's `retry_after`, the reset that OpenRouter passes
    on, and "try again in 20s" in the message.
    """
    now = time() if now_s is None else now_s
    value = headers.get(b"retry-after-ms") or headers.get(b"x-ms-retry-after-ms")
    if value is not None:
        try:
            ms = float(value)
        except ValueError:
            ms = -1.0
        if isfinite(ms) and ms >= 0:
            return ms / 1000
    value = headers.get(b"retry-after")
    if value is not None:
        seconds = read_duration(value.decode("latin-1"), now)
        if seconds is not None:
            return seconds
    if status != 429:
        return None
    seconds = _reset_s(headers, now)
    return _body_s(body, now) if seconds is None else seconds


def _reset_s(headers: Mapping[bytes, bytes], now: float) -> float | None:
    latest: float | None = None
    for reset, remaining in _RESETS:
        value = headers.get(reset)
        if value is None:
            continue
        left = headers.get(remaining)
        if left is not None and left.strip() not in (b"0", b"0.0"):
            continue
        seconds = read_duration(value.decode("latin-1"), now)
        if seconds is not None and (latest is None or seconds > latest):
            latest = seconds
    return latest


def _body_s(body: bytes, now: float) -> float | None:
    body = body[:BODY_LOOKED_AT_BYTES]
    for name in ("retryDelay", "retry_after", "X-RateLimit-Reset"):
        if name.encode() in body:
            try:
                delay = _find(orjson.loads(body), name)
            except orjson.JSONDecodeError:
                break
            if isinstance(delay, str) or type(delay) in (int, float):
                return read_duration(str(delay), now)
    words = _IN_WORDS.search(body.lower())
    if words is None:
        return None
    parts = re.findall(rb"(\d+(?:\.\d+)?)\s*(ms|[dhms])", words.group(1))
    return sum(float(value) * _UNITS_S[unit.decode()] for value, unit in parts)


def _find(node: Any, name: str, depth: int = 0) -> Any:
    if depth > 8:
        return None
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    if isinstance(node, dict) and name in node:
        return node[name]
    for child in children:
        found = _find(child, name, depth + 1)
        if found is not None:
            return found
    return None
