"""AWS's binary event stream: frames of two lengths, headers and a payload, under two CRCs."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

STRING_HEADER = 7


def frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One message. All its headers are strings."""
    block = b""
    for name, value in headers.items():
        data = value.encode()
        block += struct.pack(">B", len(name)) + name.encode() + struct.pack(">BH", STRING_HEADER, len(data)) + data
    lengths = struct.pack(">II", 16 + len(block) + len(payload), len(block))
    head = lengths + struct.pack(">I", zlib.crc32(lengths))
    return head + block + payload + struct.pack(">I", zlib.crc32(head + block + payload))


def event(kind: str, payload: bytes) -> bytes:
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return frame(headers, payload)


def exception(kind: str, payload: bytes) -> bytes:
    """The message that ends a stream that failed."""
    headers = {":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}
    return frame(headers, payload)


def corrupted(data: bytes) -> bytes:
    """The frame with one bit of its last byte turned: what a `Reply.mangle` may do."""
    return data[:-1] + bytes([data[-1] ^ 1])
