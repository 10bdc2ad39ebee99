"""Smooth weighted round-robin: picks in the exact ratio of weights, without bursts, while the weights may change."""

from __future__ import annotations

from collections.abc import Collection


class Spread:
    """The turns of one group of targets, by label. A change of weights may take time: from old to new in a straight line.

    Each pick adds every weight to its target's counter, takes the largest and subtracts the sum from it, as nginx does.
    """

    __slots__ = ("_changed_ns", "_counters", "_given", "_new", "_old", "_steady", "picks")

    def __init__(self) -> None:
        self._old: dict[str, float] = {}
        self._new: dict[str, float] = {}
        self._changed_ns = 0
        self._counters: dict[str, float] = {}
        self._given: dict[str, float] | None = None
        self._steady: tuple[float, dict[str, list[str]]] | None = None
        """Of the weights as they are set: the sum, and the order for each pick."""
        self.picks: dict[str, int] = {}
        """How often each target was picked."""

    def weigh(self, weights: dict[str, float], now_ns: int, ramp_ns: int) -> None:
        """Take the weights as they are set now. A dict that was given before is taken to hold what it held."""
        if weights is self._given:
            return
        self._given = weights
        if weights == self._new:
            return
        self._steady = None
        self._old = self._weights(now_ns, ramp_ns) if self._new else dict(weights)
        self._new = dict(weights)
        self._changed_ns = now_ns
        self._counters = {label: self._counters.get(label, 0.0) for label in weights}
        self.picks = {label: self.picks.get(label, 0) for label in weights}

    def _weights(self, now_ns: int, ramp_ns: int) -> dict[str, float]:
        if self._old == self._new or now_ns >= self._changed_ns + ramp_ns:
            return self._new
        share = (now_ns - self._changed_ns) / ramp_ns
        return {
            label: old + (new - old) * share for label, new in self._new.items() for old in [self._old.get(label, 0.0)]
        }

    def order(self, labels: Collection[str], now_ns: int, ramp_ns: int, *, count: bool = True) -> list[str]:
        """The pick first, the others by weight; without those of weight 0, so empty when all are. `count=False` takes no turn.
        `labels` are some or all of those that were weighed. Not to be changed."""
        if self._old is not self._new and now_ns >= self._changed_ns + ramp_ns:
            self._old = self._new
        if self._old is not self._new or len(labels) != len(self._new):
            return self._of_some(labels, now_ns, ramp_ns, count=count)
        weights, counters = self._new, self._counters
        if self._steady is None:
            some = sorted([label for label in labels if weights[label] > 0], key=lambda label: -weights[label])
            orders = {pick: [pick, *[label for label in some if label != pick]] for pick in some}
            self._steady = sum(weights.values()), orders
        total, orders = self._steady
        if not orders:
            return []
        pick, most = "", 0.0
        for label in labels:
            if label in orders:
                after = counters[label] + weights[label]
                if count:
                    counters[label] = after
                if not pick or after > most:
                    pick, most = label, after
        if count:
            counters[pick] = most - total
            self.picks[pick] += 1
        return orders[pick]

    def _of_some(self, labels: Collection[str], now_ns: int, ramp_ns: int, *, count: bool) -> list[str]:
        """`order` where not all labels are there, or a weight is on its way to another."""
        weights = self._weights(now_ns, ramp_ns)
        open_to = {label: weights[label] for label in labels if weights.get(label, 0.0) > 0}
        if not open_to:
            return []
        after = {label: self._counters.get(label, 0.0) + weight for label, weight in open_to.items()}
        pick = max(after, key=after.__getitem__)
        if count:
            after[pick] -= sum(open_to.values())
            self._counters.update(after)
            self.picks[pick] = self.picks.get(pick, 0) + 1
        rest = sorted((label for label in open_to if label != pick), key=lambda label: -open_to[label])
        return [pick, *rest]
