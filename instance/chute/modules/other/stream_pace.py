"""The pace of one stream: when its events left, the gaps between them, and what that says in figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from instance.chute.statistics.histogram import LogHistogram

NS_PER_US = 1_000
NS_PER_MS = 1_000_000


class StreamPace:
    """Told of each event as it leaves; of fixed size however long the stream gets. Times are monotonic nanoseconds."""

    __slots__ = (
        "_gaps_us",
        "_longest_ns",
        "_stall_ns",
        "_stalled_ns",
        "bytes",
        "chunks",
        "content_chunks",
        "finish_reason",
        "first_content_ns",
        "first_ns",
        "last_content_ns",
        "last_ns",
        "stalls",
    )

    def __init__(self, stall_ns: int) -> None:
        self._gaps_us = LogHistogram()
        self._longest_ns = 0
        self._stall_ns = stall_ns
        self._stalled_ns = 0
        self.bytes = 0
        self.chunks = 0
        self.content_chunks = 0
        self.stalls = 0
        self.finish_reason = ""
        self.first_ns = self.last_ns = 0
        self.first_content_ns = self.last_content_ns = 0

    def event(self, now_ns: int, *, content: bool) -> None:
        """One event leaves; `content` says that it carries something of the answer."""
        self.events(((now_ns, content),))

    def events(self, left: Sequence[tuple[int, bool]]) -> None:
        """Events leave, one after the other: when each did, and whether it carries something of the answer."""
        chunks, last_ns, content_chunks = self.chunks, self.last_ns, self.content_chunks
        longest_ns, stall_ns = self._longest_ns, self._stall_ns
        gaps_us: list[int] = []
        for now_ns, content in left:
            if chunks:
                gap = now_ns - last_ns
                gaps_us.append(gap // NS_PER_US)
                if gap > longest_ns:
                    longest_ns = gap
                if gap >= stall_ns:
                    self.stalls += 1
                    if content_chunks:
                        self._stalled_ns += gap
            else:
                self.first_ns = now_ns
            chunks += 1
            last_ns = now_ns
            if content:
                if not content_chunks:
                    self.first_content_ns = now_ns
                content_chunks += 1
                self.last_content_ns = now_ns
        self.chunks, self.last_ns, self.content_chunks, self._longest_ns = chunks, last_ns, content_chunks, longest_ns
        self._gaps_us.add_all(gaps_us)

    def silence(self, now_ns: int) -> None:
        """The stream ended now without an event: a wait that was long enough was a stall."""
        gap = now_ns - self.last_ns
        if self.chunks and gap >= self._stall_ns:
            self.stalls += 1
            self._longest_ns = max(self._longest_ns, gap)

    def tokens_per_s(self, tokens: int) -> float | None:
        """Of the content phase, its stalls left out; `None` for fewer than two events with content."""
        moving_ns = self.last_content_ns - self.first_content_ns - self._stalled_ns
        count = self.content_chunks
        if count < 2 or not tokens or moving_ns <= 0:
            return None
        after_first = tokens * (count - 1) / count  # what the first event brought came before the phase began
        return round(after_first * 1e9 / moving_ns, 2)

    def figures(self, started_ns: int) -> dict[str, Any]:
        """What is known of the stream, as JSON values. Median and p95 of the gaps are at most 2 % off."""
        figures: dict[str, Any] = {"chunks": self.chunks, "stalls": self.stalls}
        if self.chunks:
            figures["ttfb_ms"] = _ms(self.first_ns - started_ns)
        if self.content_chunks:
            figures["ttft_ms"] = _ms(self.first_content_ns - started_ns)
        gaps_us = self._gaps_us.quantiles(0.5, 0.95)
        if gaps_us:
            median, p95 = gaps_us
            figures["gap_p50_ms"] = round(median / 1000, 3)
            figures["gap_p95_ms"] = round(min(p95 / 1000, self._longest_ns / NS_PER_MS), 3)
            figures["gap_max_ms"] = _ms(self._longest_ns)
        return figures


def _ms(ns: int) -> float:
    return round(ns / NS_PER_MS, 3)
