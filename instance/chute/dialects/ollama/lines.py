"""Newline-delimited JSON, cut anywhere."""

from __future__ import annotations

import orjson

from instance.chute.answer import JSON
from instance.chute.stream import StreamBroken

LINE_MAX_BYTES = 4 << 20


class LineSplitter:
    """Turns blocks of bytes into the objects of their lines; what is not yet a whole line waits for the next block."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, block: bytes) -> list[JSON]:
        """The objects whose lines are complete. Raises `StreamBroken`."""
        *lines, rest = (self._rest + block).split(b"\n")
        if len(rest) > LINE_MAX_BYTES:
            raise StreamBroken("a line of the stream is larger than 4 MiB")
        self._rest = rest
        return [_object(line) for line in lines if line.strip()]

    def close(self) -> list[JSON]:
        """The last line, when it has no end. Raises `StreamBroken`."""
        rest, self._rest = self._rest.strip(), b""
        return [_object(rest)] if rest else []


def _object(line: bytes) -> JSON:
    try:
        obj = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise StreamBroken("a line of the stream is not JSON") from error
    if not isinstance(obj, dict):
        raise StreamBroken("a line of the stream is not a JSON object")
    return obj
