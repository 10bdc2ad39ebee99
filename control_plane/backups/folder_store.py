"""The backups' store in a directory."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from control_plane.backups.object_store import Stored
from control_plane.reconcile.ports import Unavailable

T = TypeVar("T")


class FolderStore:
    """`ObjectStore` below a directory, which must be there already for anything but a put: it may be a disk not mounted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, name: str, content: bytes) -> None:
        await _off_loop(lambda: self._put(self._folder / name, content))

    async def get(self, name: str) -> bytes | None:
        def read() -> bytes | None:
            with suppress(FileNotFoundError):
                return (self._folder / name).read_bytes()
            return None

        return await _off_loop(read)

    async def entries(self, folder: str) -> list[Stored]:
        return await _off_loop(lambda: self._entries(folder))

    async def folders(self, folder: str) -> set[str]:
        def read() -> set[str]:
            self._require()
            with suppress(FileNotFoundError), os.scandir(self._folder / folder) as found:
                return {each.name for each in found if each.is_dir()}
            return set()

        return await _off_loop(read)

    async def remove(self, names: Iterable[str]) -> None:
        def unlink() -> None:
            for name in names:
                (self._folder / name).unlink(missing_ok=True)

        await _off_loop(unlink)

    async def remove_folder(self, folder: str) -> None:
        def remove() -> None:
            self._require()
            with suppress(FileNotFoundError):
                shutil.rmtree(self._folder / folder)

        await _off_loop(remove)

    def _require(self) -> None:
        if not self._folder.is_dir():
            raise Unavailable(f"the backups' folder {self._folder} is not there")

    def _put(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        making = path.with_name(f".{path.name}")
        with making.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        making.replace(path)

    def _entries(self, folder: str) -> list[Stored]:
        found = []
        for path in sorted((self._folder / folder).rglob("*")):
            with suppress(FileNotFoundError):  # removed by Litestream meanwhile
                if path.is_file() and not path.name.startswith("."):
                    seen = path.stat()
                    found.append(Stored(str(path.relative_to(self._folder)), seen.st_size, seen.st_mtime))
        return found


async def _off_loop(work: Callable[[], T]) -> T:
    try:
        return await asyncio.to_thread(work)
    except OSError as problem:
        raise Unavailable(f"the backups' folder: {problem}") from None
