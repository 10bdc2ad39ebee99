"""One record of the journal and its form on disk.

A frame is, little-endian: length of the body (u32), CRC-32 (zlib) of sequence and body (u32), sequence (u64), and the
body: kind (u8), number of parts (u8), the length of each part (u32 each), the parts.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
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
    last = end - _BODY_AT - 2
    view = memoryview(data)
    unpack_head, unpack_five = _HEAD.unpack_from, _LENGTHS[5].unpack_from
    at = 0
    while at <= last:
        length, crc, sequence, kind, count = unpack_head(data, at)
        behind = at + _BODY_AT + length
        if behind > end or count > PARTS_MAX or length < 2 + 4 * count:
            return
        if check and crc32(view[at + _CRC_AT : behind]) != crc:
            return
        start = at + _BODY_AT + 2
        if count == 5:  # a call, as nearly all are: in half the time of the loop
            one, two, three, four, five = unpack_five(data, start)
            start += 20
            first = start + one
            second = first + two
            third = second + three
            fourth = third + four
            parts_end = fourth + five
            parts = [
                data[start:first],
                data[first:second],
                data[second:third],
                data[third:fourth],
                data[fourth:parts_end],
            ]
        else:
            bounds = [*accumulate(_LENGTHS[count].unpack_from(data, start), initial=start + 4 * count)]
            parts = [data[begins:ends] for begins, ends in pairwise(bounds)]
            parts_end = bounds[-1]
        if parts_end != behind:
            return
        yield Record(sequence, kind, parts, segment, behind - at)
        at = behind


def frame_bytes(data: bytes, at: int) -> int:
    """The length of the frame that begins at `at`, as its head says; 0 when the head itself is not all there."""
    if at + _BODY_AT > len(data):
        return 0
    return int(_PREFIX.unpack_from(data, at)[0]) + _BODY_AT
