"""The journal: what happened, appended with one write before an answer's last byte leaves, folded into SQLite later."""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

from instance.core import segments
from instance.core.availability import Availability
from instance.core.records import encode
from instance.core.reserve import NAME as RESERVE_NAME
from instance.core.reserve import RESERVE_BYTES, disk_has_room, make_reserve
from instance.core.segments import Segment, segment_path, sync_folder

SEGMENT_BYTES = 8 << 20
UNFOLDED_MAX_BYTES = 256 << 20
"""Appended and not folded: above it new calls are refused."""
SYNC_S = 0.1
PROBE_S = 0.5

DISK = "disk"
LAG = "lag"

log = logging.getLogger("stockyard.journal")


class JournalUnavailable(Exception):
    """The record could not be appended: the disk is full or failing, and the reserve is used up."""


class Journal(Availability):
    """The appending side; one process appends.

    A record appended is on its way to disk and survives the process; `sync_forever` makes it survive the machine within
    100 ms. Segments are removed whole after they were folded, never cut. When a write fails, the reserve becomes the
    next segment and takes what is in flight; `available` is false from then on until the disk has room for a new one.
    """

    def __init__(
        self,
        folder: Path,
        epoch: str,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        reserve_bytes: int = RESERVE_BYTES,
        unfolded_max_bytes: int = UNFOLDED_MAX_BYTES,
        write: Callable[[int, bytes, int], int] = os.pwrite,
    ) -> None:
        super().__init__()
        self.folder = folder
        self.epoch = epoch
        self.sequence = 0
        """Of the last record appended."""
        self.appended_bytes = 0
        self.folded_bytes = 0
        self.segments: dict[int, Segment] = {}
        """The segments that were not removed yet, by number; the last one is appended to."""
        self.appended = threading.Event()
        """Set by the first append after `reader_waits` was set."""
        self.reader_waits = False

        self._segment_bytes = segment_bytes
        self._reserve_bytes = reserve_bytes
        self._unfolded_max_bytes = unfolded_max_bytes
        self._write = write
        self._append_lock = threading.Lock()
        self._number = 0
        self._active = Segment(0, folder)
        self._descriptor = -1
        self._room = 0
        self._reserve = -1
        self._retired: list[int] = []
        self._removable: list[Segment] = []
        self._dirty = False
        self._new_names = False
        self._wake = threading.Event()
        self._stopping = threading.Event()

    @property
    def lag_bytes(self) -> int:
        """Bytes that were appended and not folded yet."""
        return self.appended_bytes - self.folded_bytes

    def open(self, folded_sequence: int, folded_segment: int, also: str = "") -> None:
        """Take over the folder: segments of other epochs, but for `also`, go aside, those of this one wait to be folded.

        Sequences go on behind everything known. A full disk is no error: the journal begins unavailable.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        segments.set_aside_others(self.folder, {self.epoch, also})
        self.open_to_fold(folded_sequence)
        self._number = max([folded_segment, *self.segments])
        try:
            self._reserve = make_reserve(self.folder, self._reserve_bytes)
        except OSError as error:
            self._disk_failed(error)

    def open_to_fold(self, folded_sequence: int) -> None:
        """Know what lies in the folder, which waits to be folded. Nothing is appended to a journal that was opened so."""
        found = segments.recover(self.folder, self.epoch, folded_sequence)
        self.segments = {segment.number: segment for segment in found}
        self.sequence = max([folded_sequence, *(segment.last_sequence for segment in found)])
        self.appended_bytes = sum(segment.size for segment in found)

    def append(self, kind: int, *parts: bytes) -> int:
        """Append one record with one write; its sequence. Raises `JournalUnavailable`, and then nothing was appended."""
        with self._append_lock:
            sequence = self.sequence + 1
            frame = encode(sequence, kind, parts)
            size = len(frame)
            active = self._active
            if size > self._room or self._write_fails(frame, active.size):
                active = self._append_elsewhere(frame)
            self._room -= size
            if not active.first_sequence:
                active.first_sequence = sequence
            active.last_sequence = sequence
            active.size += size
            self.appended_bytes += size
            self.sequence = sequence
        if not self._dirty:
            self._dirty = True
            self._wake.set()
        if self.reader_waits:
            self.reader_waits = False
            self.appended.set()
        if self.appended_bytes - self.folded_bytes > self._unfolded_max_bytes:
            self.block(LAG, "too much is recorded and not yet in the database")
        return sequence

    def folded(self, size: int, segment: int) -> None:
        """Records of `size` bytes were folded and committed; the last of them lies in `segment`. Called by the writer."""
        self.folded_bytes += size
        if self.blocked_by(LAG) and self.lag_bytes < self._unfolded_max_bytes // 2:
            self.unblock(LAG)
        done = [number for number in tuple(self.segments) if number < segment]
        if done:
            self._removable += [self.segments.pop(number) for number in done]
            self._wake.set()

    def _write_fails(self, frame: bytes, at: int) -> bool:
        try:
            if self._write(self._descriptor, frame, at) == len(frame):
                return False
            error = OSError(errno.ENOSPC, "the disk took only a part")
        except OSError as caught:
            error = caught
        self._room = 0
        self._disk_failed(error)
        return True

    def _append_elsewhere(self, frame: bytes) -> Segment:
        """Write the frame at the start of a new segment, or of the reserve; nothing is ever written behind a torn frame."""
        size = len(frame)
        if not self.blocked_by(DISK):
            try:
                self._begin(max(self._segment_bytes, size))
            except OSError as error:
                self._disk_failed(error)
            else:
                if not self._write_fails(frame, 0):
                    return self._active
        if self._reserve < 0 or size > self._reserve_bytes:
            raise JournalUnavailable(self.reason)
        try:
            self._begin_reserve()
        except OSError as error:
            raise JournalUnavailable(str(error)) from error
        if self._write_fails(frame, 0):
            raise JournalUnavailable(self.reason)
        return self._active

    def _begin(self, room: int) -> None:
        number = self._number + 1
        path = segment_path(self.folder, self.epoch, number)
        self._activate(number, path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), room)

    def _begin_reserve(self) -> None:
        number = self._number + 1
        path = segment_path(self.folder, self.epoch, number)
        (self.folder / RESERVE_NAME).rename(path)
        descriptor, self._reserve = self._reserve, -1
        self._activate(number, path, descriptor, self._reserve_bytes)

    def _activate(self, number: int, path: Path, descriptor: int, room: int) -> None:
        if self._descriptor >= 0:
            self._retired.append(self._descriptor)
        self._descriptor = descriptor
        self._number = number
        self._active = self.segments[number] = Segment(number, path)
        self._room = room
        self._new_names = True

    def _disk_failed(self, error: OSError) -> None:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        self.block(DISK, "the disk is full" if full else f"the disk fails: {error.strerror}")
        self._wake.set()

    def sync(self) -> None:
        """Push what was appended to the disk."""
        self._dirty = False
        with self._append_lock:
            retired, self._retired = self._retired, []
            new_names, self._new_names = self._new_names, False
            descriptor = self._descriptor
        try:
            for one in [*retired, descriptor]:
                if one >= 0:
                    os.fdatasync(one)
            if new_names:
                sync_folder(self.folder)
        except OSError as error:
            with self._append_lock:
                self._disk_failed(error)
                self._room = 0
        finally:
            for one in retired:
                os.close(one)

    def probe(self) -> None:
        """When the disk failed: be available again as soon as it has room for a whole new reserve."""
        if not self.blocked_by(DISK) or not disk_has_room(self.folder, self._reserve_bytes):
            return
        if self._reserve < 0:
            try:
                reserve = make_reserve(self.folder, self._reserve_bytes)
            except OSError:
                return
            with self._append_lock:
                self._reserve = reserve
        self.unblock(DISK)

    def remove_folded(self, before_removal: Callable[[], None]) -> None:
        """Remove the segments that are folded, once `before_removal` made durable what was folded from them."""
        removable, self._removable = self._removable, []
        if removable:
            before_removal()
            for segment in removable:
                segments.remove(segment)

    def sync_forever(self, before_removal: Callable[[], None]) -> None:
        """Until `close`: sync what was appended each 100 ms, remove what was folded, probe a failed disk. A thread's target."""
        while not self._stopping.is_set():
            self._wake.wait(PROBE_S if self.blocked_by(DISK) else None)
            self._wake.clear()
            if self._dirty:
                self.sync()
            try:
                self.remove_folded(before_removal)
            except OSError as error:
                log.error("folded segments could not be removed: %s", error)
            self.probe()
            self._stopping.wait(SYNC_S)

    def stop(self) -> None:
        """End `sync_forever`."""
        self._stopping.set()
        self._wake.set()

    def close(self, before_removal: Callable[[], None]) -> None:
        """Sync; remove every segment when all is folded; give up the files. Nothing may be appended any more."""
        self.sync()
        if not self.lag_bytes:
            self._removable += self.segments.values()
            self.segments = {}
            self.remove_folded(before_removal)
        for descriptor in (self._descriptor, self._reserve):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor = self._reserve = -1
        self._room = 0
