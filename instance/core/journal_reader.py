"""The journal's folding side: records in their order, from the segments that are left."""

from __future__ import annotations

import os
from collections import deque

from instance.core.journal import Journal
from instance.core.records import Record, decode, frame_bytes

READ_BYTES = 256 << 10


class JournalReader:
    """Yields what was appended behind `folded_sequence`. Used by the writer's thread alone."""

    def __init__(self, journal: Journal, folded_sequence: int) -> None:
        self._journal = journal
        self._folded_sequence = folded_sequence
        self._ready: deque[Record] = deque()
        self._segment = min(journal.segments, default=0)
        self._offset = 0
        self._descriptor = -1

    def take(self, count: int) -> list[Record]:
        """The next records, at most `count`; none when all was taken."""
        ready = self._ready
        while len(ready) < count and self._read():
            pass
        return [ready.popleft() for _ in range(min(count, len(ready)))]

    def give_back(self, records: list[Record]) -> None:
        """Put back, in front, records that were taken and not folded."""
        self._ready.extendleft(reversed(records))

    def close(self) -> None:
        """Give up the open segment."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _read(self) -> bool:
        """Read a block of the segment, or go on to the next one; whether there may be more."""
        journal = self._journal
        segment = journal.segments.get(self._segment)
        if segment is None or self._offset >= segment.size:
            return self._next_segment()
        if self._descriptor < 0:
            self._descriptor = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
        left = segment.size - self._offset
        data = os.pread(self._descriptor, min(READ_BYTES, left), self._offset)
        whole = frame_bytes(data, 0)
        if whole > len(data):
            data = os.pread(self._descriptor, whole, self._offset)
        for record in decode(data, segment.number, check=False):
            self._offset += record.size
            if record.sequence > self._folded_sequence:
                self._ready.append(record)
            else:
                journal.folded_bytes += record.size
        return True

    def _next_segment(self) -> bool:
        later = [number for number in tuple(self._journal.segments) if number > self._segment]
        if not later:
            return False
        segment = self._journal.segments.get(self._segment)
        if segment is not None and self._offset < segment.size:
            return True  # it grew before the later one was begun
        self.close()
        self._segment = min(later)
        self._offset = 0
        return True
