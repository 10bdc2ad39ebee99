"""The binary event stream of AWS: messages of headers and a payload, each with two CRC32 that are checked.

A message: total length, length of the headers and CRC32 of both (4 bytes each, big-endian), the headers, the payload, CRC32 of
all of it. A header: length of its name (1 byte), name, type of its value (1 byte), value.
"""

from __future__ import annotations

from struct import error as BadStruct
from struct import unpack, unpack_from
from typing import NamedTuple
from zlib import crc32

from instance.chute.stream import StreamBroken

PRELUDE_BYTES = 12
CRC_BYTES = 4
HEADERS_MAX_BYTES = 128 << 10
MESSAGE_MAX_BYTES = 16 << 20
_FIXED = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Bytes of the values of each type but byte arrays (6) and texts (7), which say their length."""


class Message(NamedTuple):
    """One message; of its headers only those that are text."""

    headers: dict[str, str]
    payload: bytes


class EventStream:
    """Joins blocks and gives the messages that are complete."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    @property
    def is_empty(self) -> bool:
        """Whether nothing of a message is waiting for the rest."""
        return not self._rest

    def feed(self, block: bytes) -> tuple[list[Message], StreamBroken | None]:
        """The messages that are complete with this block, and what is wrong with the one after them."""
        data = self._rest + block
        messages: list[Message] = []
        start = 0
        broken = None
        try:
            while len(data) - start >= PRELUDE_BYTES:
                total = _total(data, start)
                if len(data) - start < total:
                    break
                messages.append(_message(data[start : start + total]))
                start += total
        except StreamBroken as error:
            broken = error
        self._rest = data[start:]
        return messages, broken


def _total(data: bytes, start: int) -> int:
    """The message's length, once its prelude is proven."""
    total, headers, checksum = unpack_from("!III", data, start)
    if crc32(data[start : start + 8]) != checksum:
        raise StreamBroken("the checksum of a message's prelude is wrong")
    if headers > HEADERS_MAX_BYTES or not PRELUDE_BYTES + headers + CRC_BYTES <= total <= MESSAGE_MAX_BYTES:
        raise StreamBroken("a message of the stream has an impossible length")
    return int(total)


def _message(data: bytes) -> Message:
    (checksum,) = unpack("!I", data[-CRC_BYTES:])
    if crc32(data[:-CRC_BYTES]) != checksum:
        raise StreamBroken("the checksum of a message is wrong")
    (size,) = unpack_from("!I", data, 4)
    try:
        headers = _headers(data[PRELUDE_BYTES : PRELUDE_BYTES + size])
    except (BadStruct, IndexError, UnicodeDecodeError) as error:
        raise StreamBroken("the headers of a message cannot be read") from error
    return Message(headers, data[PRELUDE_BYTES + size : -CRC_BYTES])


def _headers(data: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    place = 0
    while place < len(data):
        length = data[place]
        name = data[place + 1 : place + 1 + length].decode()
        kind = data[place + 1 + length]
        place += 2 + length
        if kind in (6, 7):
            (size,) = unpack_from("!H", data, place)
            value = data[place + 2 : place + 2 + size]
            place += 2 + size
            if kind == 7:
                found[name] = value.decode()
        elif kind in _FIXED:
            place += _FIXED[kind]
        else:
            raise IndexError(kind)
        if place > len(data):
            raise IndexError(place)
    return found
