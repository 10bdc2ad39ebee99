"""Generated images, kept as files for some days and given out under links that cannot be guessed."""

from __future__ import annotations

import os
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

from instance.core.secrets import SecretError

if TYPE_CHECKING:
    from instance.core.core import Core

FOLDER = "images"
STORED_MAX_BYTES = 2 << 30
"""Of all images together; the oldest are deleted beyond it."""
CONTEXT = b"stored image"
LINK_MAX_CHARS = 400
TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp", "gif": "image/gif"}
_SIGNATURES = ((b"\x89PNG", "png"), (b"\xff\xd8\xff", "jpg"), (b"GIF8", "gif"))


@dataclass(frozen=True, slots=True)
class StoredImage:
    """One file."""

    path: Path
    mime_type: str


def extension_of(data: bytes) -> str:
    """By content; empty for what is no image that providers make."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return next((name for start, name in _SIGNATURES if data.startswith(start)), "")


class ImageStore:
    """Blocking: for worker threads, but `link` and `opened`."""

    def __init__(self, core: Core, keep_s: int) -> None:
        self._core = core
        self._folder = core.data_dir / FOLDER
        self.keep_s = keep_s

    def put(self, data: bytes) -> str:
        """Write it down; its name. Raises `OSError`, `ValueError` for what is no image."""
        extension = extension_of(data)
        if not extension:
            raise ValueError("the provider's image is of no known format")
        self._folder.mkdir(mode=0o700, exist_ok=True)
        name = f"{token_hex(16)}.{extension}"
        draft = self._folder / f".{name}"
        draft.write_bytes(data)
        draft.replace(self._folder / name)
        return name

    def link(self, name: str, now_s: float) -> str:
        """What opens the image until it is deleted: sealed under the instance's key, so that no other can be made."""
        until = int(now_s) + self.keep_s
        sealed = self._core.secrets.seal(f"{until} {name}".encode(), CONTEXT)
        return urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def opened(self, link: str, now_s: float) -> StoredImage | None:
        """The image that a link opens; `None` for one that is not ours, or over."""
        if len(link) > LINK_MAX_CHARS:
            return None
        try:
            said = self._core.secrets.open(urlsafe_b64decode(link + "=" * (-len(link) % 4)), CONTEXT).decode()
            until, _, name = said.partition(" ")
        except (SecretError, ValueError):
            return None
        path = self._folder / name
        if int(until) < now_s or not path.is_file():
            return None
        return StoredImage(path, TYPES[name.rpartition(".")[2]])

    def expire(self) -> int:
        """Delete what is past its days, and the oldest beyond the limit; how many are left."""
        if not self._folder.is_dir():
            return 0
        oldest = time.time() - self.keep_s
        files = []
        for entry in os.scandir(self._folder):
            found = entry.stat()
            files.append((found.st_mtime, found.st_size, entry.path))
        files.sort(reverse=True)
        left = size = 0
        for changed, length, path in files:
            size += length
            if changed < oldest or size > STORED_MAX_BYTES:
                Path(path).unlink(missing_ok=True)
            else:
                left += 1
        return left
