"""The rate at which one key may use `/api/*`: 600 requests a minute."""

from __future__ import annotations

from collections import OrderedDict

from instance.core.errors import StockyardError

PER_MINUTE = 600
INTERVAL_NS = 60_000_000_000 // PER_MINUTE
WINDOW_NS = PER_MINUTE * INTERVAL_NS
KEYS_MAX = 10_000
NS_PER_S = 1_000_000_000

RateHeaders = tuple[tuple[bytes, bytes], ...]


class ManagementRate:
    """A bucket of 600 for each key, refilled at ten a second (GCRA); the keys least recently seen are forgotten."""

    def __init__(self) -> None:
        self._empty_until: OrderedDict[int | str, int] = OrderedDict()

    def admit(self, key_id: int | str, mono_ns: int) -> RateHeaders:
        """Count one request; the headers that tell what is left. Raises `rate_limited`."""
        debt = max(0, self._empty_until.get(key_id, 0) - mono_ns)
        if debt + INTERVAL_NS > WINDOW_NS:
            wait_s = -(-(debt + INTERVAL_NS - WINDOW_NS) // NS_PER_S)
            headers = {name.decode(): value.decode() for name, value in _headers(0, wait_s)}
            message = f"At most {PER_MINUTE} requests a minute to /api; repeat it in {wait_s} s."
            raise StockyardError("rate_limited", message, headers={"Retry-After": str(wait_s), **headers})
        debt += INTERVAL_NS
        self._empty_until[key_id] = mono_ns + debt
        self._empty_until.move_to_end(key_id)
        if len(self._empty_until) > KEYS_MAX:
            self._empty_until.popitem(last=False)
        return _headers((WINDOW_NS - debt) // INTERVAL_NS, -(-debt // NS_PER_S))


def _headers(remaining: int, reset_s: int) -> RateHeaders:
    return (
        (b"x-ratelimit-limit", b"%d" % PER_MINUTE),
        (b"x-ratelimit-remaining", b"%d" % remaining),
        (b"x-ratelimit-reset", b"%d" % reset_s),
    )
