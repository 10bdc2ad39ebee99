"""A form with one file, `multipart/form-data` (RFC 7578), read as a stream: the file goes to disk, never into memory."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

from control_plane.errors import CloudError
from control_plane.moving import to_disk

FILE = "file"
FIELDS_MAX = 16
FIELD_MAX_BYTES = 4096
HEAD_MAX_BYTES = 8192
_BOUNDARY = re.compile(r'multipart/form-data\s*;.*?boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_NAME = re.compile(rb'content-disposition\s*:\s*form-data\s*;.*?\bname="([^"]{1,64})"', re.IGNORECASE)


class Upload:
    """First `fields()`, then `save()`: whoever sends is asked who they are and what they want before the file is read."""

    def __init__(self, content_type: str, body: AsyncIterator[bytes]) -> None:
        """Raises `bad_request` for a body that is no form."""
        found = _BOUNDARY.match(content_type)
        if found is None:
            raise CloudError("bad_request", "the body must be multipart/form-data with a boundary")
        self._parts = _Parts(body, (found[1] or found[2]).encode("latin-1", "replace"))

    async def fields(self) -> dict[str, str]:
        """The fields that stand before the part `file`. Raises `missing_field` when no file comes."""
        fields: dict[str, str] = {}
        await self._parts.skip_preamble()
        while (name := await self._parts.next_name()) != FILE:
            if name is None:
                raise CloudError("missing_field", "file: the form has none, or it does not stand last", param=FILE)
            if name in fields or len(fields) >= FIELDS_MAX:
                raise CloudError("bad_request", f"the form gives `{name}` twice, or too many fields", param=name)
            fields[name] = await _text(self._parts, name)
        return fields

    async def save(self, into: Path, most: int) -> None:
        """Write the file to `into`, a new one (0600). Raises `body_too_large` as soon as it has more than `most` bytes."""
        await to_disk.save(self._parts.content(), into, most)
        if await self._parts.next_name() is not None:
            raise CloudError("bad_request", "the file must be the last part of the form", param=FILE)


async def _text(parts: _Parts, name: str) -> str:
    value = b""
    async for chunk in parts.content():
        value += chunk
        if len(value) > FIELD_MAX_BYTES:
            raise CloudError("invalid_value", f"`{name}` has more than {FIELD_MAX_BYTES} bytes", param=name)
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise CloudError("invalid_value", f"`{name}` is not UTF-8", param=name) from None


class _Parts:
    """The body cut at its boundaries; holds no more than one chunk and a boundary's length."""

    def __init__(self, body: AsyncIterator[bytes], boundary: bytes) -> None:
        self._body = body
        self._line = b"\r\n--" + boundary
        self._held = b"\r\n"  # the first boundary may stand at the very beginning

    async def skip_preamble(self) -> None:
        async for _ in self.content():
            pass

    async def next_name(self) -> str | None:
        """The next part's name; None after the last."""
        await self._hold(2)
        if self._held.startswith(b"--"):
            async for _ in self._body:  # an epilogue is to be ignored
                pass
            return None
        while b"\r\n\r\n" not in self._held:
            if len(self._held) > HEAD_MAX_BYTES:
                raise CloudError("bad_request", "a part of the form has a head that is too long")
            await self._hold(len(self._held) + 1)
        head, _, self._held = self._held.partition(b"\r\n\r\n")
        found = _NAME.search(head)
        if found is None:
            raise CloudError("bad_request", "a part of the form has no name")
        return found[1].decode("utf-8", "replace")

    async def content(self) -> AsyncIterator[bytes]:
        """The part's bytes, up to its boundary, which is passed over."""
        while True:
            place = self._held.find(self._line)
            if place >= 0:
                content, self._held = self._held[:place], self._held[place + len(self._line) :]
                if content:
                    yield content
                return
            safe = len(self._held) - len(self._line) + 1
            if safe > 0:
                content, self._held = self._held[:safe], self._held[safe:]
                yield content
            await self._hold(len(self._held) + 1)

    async def _hold(self, size: int) -> None:
        while len(self._held) < size:
            try:
                self._held += await anext(self._body)
            except StopAsyncIteration:
                raise CloudError("bad_request", "the form is cut off") from None
