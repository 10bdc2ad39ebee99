"""Content decoding with bounded output: gzip and deflate, a block at a time."""

import zlib
from typing import Protocol

from instance.chute.upstream.errors import UpstreamError


class _Inflater(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def unconsumed_tail(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


class Decoder:
    """Turns encoded body blocks into decoded ones of at most `block_bytes`.

    `push` takes what came; `pull` gives the next decoded block, empty when more input is needed.
    """

    __slots__ = ("_block_bytes", "_gzip", "_inflater", "_pending")

    def __init__(self, *, gzip: bool, block_bytes: int) -> None:
        self._gzip = gzip
        self._block_bytes = block_bytes
        self._pending = b""
        self._inflater: _Inflater | None = None

    def push(self, data: bytes) -> None:
        self._pending += data

    def pull(self) -> bytes:
        """The next decoded block; raises UpstreamError(bad_response) when the data is not what it says it is."""
        while self._pending:
            inflater = self._inflater
            if inflater is None or inflater.eof:
                if len(self._pending) < 2:
                    return b""
                inflater = self._inflater = self._begin()
            data, self._pending = self._pending, b""
            block = self._inflate(inflater, data)
            self._pending = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
            if block:
                return block
        if self._inflater is None or self._inflater.eof:
            return b""
        return self._inflate(self._inflater, b"")

    def _begin(self) -> _Inflater:
        """A decompressor for what `_pending` begins with: a gzip member, or deflate with or without zlib's wrapper."""
        if self._gzip:
            return zlib.decompressobj(16 + zlib.MAX_WBITS)
        if self._inflater is not None:
            raise UpstreamError("bad_response", "bytes after the end of the deflated body", sent=True)
        first, second = self._pending[0], self._pending[1]
        wrapped = first & 0x0F == 8 and (first << 8 | second) % 31 == 0  # RFC 1950, 2.2
        return zlib.decompressobj(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)

    def _inflate(self, inflater: _Inflater, data: bytes) -> bytes:
        try:
            return inflater.decompress(data, self._block_bytes)
        except zlib.error as error:
            raise UpstreamError("bad_response", f"compressed body is corrupt: {error}", sent=True) from error

    @property
    def at_end(self) -> bool:
        """Whether the compressed data came to its own end (an empty body counts as one)."""
        return not self._pending and (self._inflater is None or self._inflater.eof)


def decoder_for(encoding: bytes | None, block_bytes: int) -> Decoder | None:
    """What decodes a body with this `content-encoding`; None when there is nothing to decode.

    Raises UpstreamError(bad_response) for an encoding that we did not ask for and cannot read.
    """
    if encoding is None:
        return None
    name = encoding.strip().lower()
    if name in (b"", b"identity"):
        return None
    if name in (b"gzip", b"x-gzip"):
        return Decoder(gzip=True, block_bytes=block_bytes)
    if name == b"deflate":
        return Decoder(gzip=False, block_bytes=block_bytes)
    raise UpstreamError("bad_response", f"content-encoding {name[:40]!r} cannot be read", sent=True)
