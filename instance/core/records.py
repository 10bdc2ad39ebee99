"""One record of the journal and its form on disk.

A frame is, little-endian: length of the body (u32), CRC-32 (zlib) of sequence and body (u32), sequence (u64), and the
body: kind (u8), number of parts (u8), the length of each part (u32 each), the parts.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from zlib import crc32

PARTS_MAX = 16
BODY_MAX_BYTES = 64 << 20

_HEAD = struct.Struct("<IIQBB")
_PREFIX = struct.Struct("<II")
_TAILS = tuple(struct.Struct(f"<QBB{count}I") for count in range(PARTS_MAX + 1))
_LENGTHS = tuple(struct.Struct(f"<{count}I") for count in range(PARTS_MAX + 1))
_CRC_AT = 8
_BODY_AT = 16


class Record:
    """One record. `sequence` grows by one with each; `kind` says who folds it and what its `parts` are.

    `segment` is the number of the file that it lies in, `size` its frame's length there.
    """

    __slots__ = ("kind", "parts", "segment", "sequence", "size")

    def __init__(self, sequence: int, kind: int, parts: Sequence[bytes], segment: int = 0, size: int = 0) -> None:
        self.sequence = sequence
        self.kind = kind
        self.parts = parts
        self.segment = segment
        self.size = size

    def __repr__(self) -> str:
        return f"Record({self.sequence}, kind={self.kind}, segment={self.segment})"


def encode(sequence: int, kind: int, parts: Sequence[bytes]) -> bytes:
    """The frame of a record. Raises `ValueError` for more than `PARTS_MAX` parts or a body above `BODY_MAX_BYTES`."""
    count = len(parts)
    if count > PARTS_MAX:
        raise ValueError(f"a record has at most {PARTS_MAX} parts")
    tail = b"".join((_TAILS[count].pack(sequence, kind, count, *map(len, parts)), *parts))
    length = len(tail) - 8
    if length > BODY_MAX_BYTES:
        raise ValueError(f"a record has at most {BODY_MAX_BYTES} bytes")
    return _PREFIX.pack(length, crc32(tail)) + tail


def decode(data: bytes, segment: int = 0, *, check: bool = True) -> Iterator[Record]:
    """The records of the whole frames at the start of `data`; ends at the first that is torn or not a frame.

    `check=False` leaves the checksum out: for frames that were checked before, or that this process wrote.
    """
    end = len(data)
    view = memoryview(data)
    at = 0
    while at + _BODY_AT + 2 <= end:
        length, crc, sequence, kind, count = _HEAD.unpack_from(data, at)
        behind = at + _BODY_AT + length
        if behind > end or length < 2 or count > PARTS_MAX or length < 2 + 4 * count:
            return
        if check and crc32(view[at + _CRC_AT : behind]) != crc:
            return
        start = at + _BODY_AT + 2
        lengths = _LENGTHS[count].unpack_from(data, start)
        start += 4 * count
        if start + sum(lengths) != behind:
            return
        parts = []
        for size in lengths:
            parts.append(data[start : start + size])
            start += size
        yield Record(sequence, kind, parts, segment, behind - at)
        at = behind


def frame_bytes(data: bytes, at: int) -> int:
    """The length of the frame that begins at `at`, as its head says; 0 when the head itself is not all there."""
    if at + _BODY_AT > len(data):
        return 0
    return int(_PREFIX.unpack_from(data, at)[0]) + _BODY_AT
