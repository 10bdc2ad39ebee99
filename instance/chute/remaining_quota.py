"""How much of its rate limits a provider says is left."""

from __future__ import annotations

from collections.abc import Mapping

_PAIRS = (
    (b"x-ratelimit-remaining-requests", b"x-ratelimit-limit-requests"),
    (b"x-ratelimit-remaining-tokens", b"x-ratelimit-limit-tokens"),
    (b"anthropic-ratelimit-requests-remaining", b"anthropic-ratelimit-requests-limit"),
    (b"anthropic-ratelimit-tokens-remaining", b"anthropic-ratelimit-tokens-limit"),
    (b"anthropic-ratelimit-input-tokens-remaining", b"anthropic-ratelimit-input-tokens-limit"),
    (b"anthropic-ratelimit-output-tokens-remaining", b"anthropic-ratelimit-output-tokens-limit"),
    (b"x-ratelimit-remaining-requests-day", b"x-ratelimit-limit-requests-day"),
    (b"x-ratelimit-remaining-tokens-minute", b"x-ratelimit-limit-tokens-minute"),
    (b"x-ratelimit-remaining", b"x-ratelimit-limit"),
    (b"ratelimit-remaining", b"ratelimit-limit"),
)


def remaining_share(headers: Mapping[bytes, bytes]) -> float | None:
    """The smallest remaining share, 0 to 1, of the limits in an answer's headers; `None` when it names none."""
    if not headers:
        return None
    least: float | None = None
    for remaining, limit in _PAIRS:
        left = headers.get(remaining)
        if left is None:
            continue
        try:
            share = float(left) / float(headers.get(limit, b"0"))
        except (ValueError, ZeroDivisionError):
            continue
        if 0 <= share <= 1 and (least is None or share < least):
            least = share
    return least
