"""So many requests a minute, by the generic cell rate algorithm (ITU-T I.371)."""

from __future__ import annotations

NS_PER_S = 1_000_000_000
NS_PER_MINUTE = 60 * NS_PER_S


def next_arrival_ns(arrival_ns: int, now_ns: int, rpm: int) -> tuple[int, int]:
    """`(what to keep as arrival_ns, seconds to wait)` for one more request: `rpm` may come at once, then one each 60/rpm seconds.

    A request that has to wait is not counted: the arrival is then as it was. Times are of one monotonic clock, the first
    `arrival_ns` is 0.
    """
    interval = NS_PER_MINUTE // rpm
    arrival = max(arrival_ns, now_ns)
    early = arrival + interval - now_ns - NS_PER_MINUTE
    if early > 0:
        return arrival_ns, -(-early // NS_PER_S)
    return arrival + interval, 0
