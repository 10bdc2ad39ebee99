from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instance.core.records import PARTS_MAX, decode, encode, frame_bytes

PARTS = st.lists(st.binary(max_size=200), max_size=PARTS_MAX)


@given(st.lists(st.tuples(st.integers(0, 255), PARTS), max_size=8))
def test_records_are_read_as_they_were_written(records: list[tuple[int, list[bytes]]]) -> None:
    data = b"".join(encode(index + 1, kind, parts) for index, (kind, parts) in enumerate(records))
    read = list(decode(data))
    assert [(record.sequence, record.kind, record.parts) for record in read] == [
        (index + 1, kind, parts) for index, (kind, parts) in enumerate(records)
    ]
    assert sum(record.size for record in read) == len(data)


@given(PARTS, st.data())
def test_a_frame_that_is_cut_anywhere_is_no_record(parts: list[bytes], data: st.DataObject) -> None:
    whole = encode(1, 1, [b"before"])
    frame = encode(2, 1, parts)
    cut = data.draw(st.integers(0, len(frame) - 1))
    assert [record.sequence for record in decode(whole + frame[:cut])] == [1]


@given(PARTS, st.data())
def test_a_frame_with_a_changed_byte_is_no_record(parts: list[bytes], data: st.DataObject) -> None:
    frame = bytearray(encode(1, 1, parts))
    frame[data.draw(st.integers(0, len(frame) - 1))] ^= data.draw(st.integers(1, 255))
    assert list(decode(bytes(frame))) == []


def test_zeros_behind_the_last_frame_are_no_record() -> None:
    assert [record.sequence for record in decode(encode(1, 1, [b"x"]) + bytes(4096))] == [1]


def test_the_form_is_the_documented_one() -> None:
    body = struct.pack("<BBII", 7, 2, 1, 3) + b"a" + b"bcd"
    tail = struct.pack("<Q", 5) + body
    assert encode(5, 7, [b"a", b"bcd"]) == struct.pack("<II", len(body), zlib.crc32(tail)) + tail


def test_too_many_parts_are_refused() -> None:
    with pytest.raises(ValueError, match="parts"):
        encode(1, 1, [b""] * (PARTS_MAX + 1))


def test_the_head_tells_how_long_its_frame_is() -> None:
    frame = encode(1, 1, [b"x" * 1000])
    assert frame_bytes(frame[:20], 0) == len(frame)
    assert frame_bytes(frame[:10], 0) == 0
