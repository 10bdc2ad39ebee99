"""The backups' store behind SFTP, with the name and password of its address: that is all that Litestream takes there.

Like Litestream's, this connection does not check the server's own key: for networks that are trusted.
"""

from __future__ import annotations

import posixpath
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from urllib.parse import SplitResult, unquote

import asyncssh

from control_plane.backups.object_store import Stored
from control_plane.reconcile.ports import Unavailable

TIMEOUT_S = 30
PORT = 22
_DIRECTORY = asyncssh.FILEXFER_TYPE_DIRECTORY


class SftpStore:
    """`ObjectStore` below the directory that `sftp://USER:PASSWORD@HOST:PORT/DIRECTORY` names."""

    def __init__(self, address: SplitResult) -> None:
        self._host, self._port = address.hostname or "", address.port or PORT
        self._user, self._password = unquote(address.username or ""), unquote(address.password or "")
        self._folder = unquote(address.path).rstrip("/")

    async def put(self, name: str, content: bytes) -> None:
        path = self._path(name)
        folder, last = posixpath.split(path)
        making = posixpath.join(folder, f".{last}")
        async with self._connected() as sftp:
            await sftp.makedirs(folder, exist_ok=True)
            async with sftp.open(making, "wb") as file:
                await file.write(content)
                with suppress(asyncssh.SFTPOpUnsupported):
                    await file.fsync()
            await sftp.posix_rename(making, path)

    async def get(self, name: str) -> bytes | None:
        async with self._connected() as sftp:
            with suppress(asyncssh.SFTPNoSuchFile):
                async with sftp.open(self._path(name), "rb") as file:
                    content = await file.read()
                    return content if isinstance(content, bytes) else content.encode()
            return None

    async def entries(self, folder: str) -> list[Stored]:
        async with self._connected() as sftp:
            return sorted([each async for each in self._walk(sftp, folder)])

    async def folders(self, folder: str) -> set[str]:
        async with self._connected() as sftp:
            with suppress(asyncssh.SFTPNoSuchFile):
                found = [each async for each in sftp.scandir(self._path(folder))]
                names = {str(each.filename) for each in found if each.attrs.type == _DIRECTORY}
                return {each for each in names if not each.startswith(".")}
            return set()

    async def remove(self, names: Iterable[str]) -> None:
        async with self._connected() as sftp:
            for name in names:
                with suppress(asyncssh.SFTPNoSuchFile):
                    await sftp.remove(self._path(name))

    async def remove_folder(self, folder: str) -> None:
        async with self._connected() as sftp:
            with suppress(asyncssh.SFTPNoSuchFile):
                await sftp.rmtree(self._path(folder))

    async def _walk(self, sftp: asyncssh.SFTPClient, folder: str) -> AsyncIterator[Stored]:
        entries: list[asyncssh.SFTPName] = []
        with suppress(asyncssh.SFTPNoSuchFile):
            entries = [each async for each in sftp.scandir(self._path(folder))]
        for entry in entries:
            name = str(entry.filename)
            if name.startswith("."):
                continue
            if entry.attrs.type == _DIRECTORY:
                async for each in self._walk(sftp, f"{folder}/{name}"):
                    yield each
            else:
                yield Stored(f"{folder}/{name}", entry.attrs.size or 0, float(entry.attrs.mtime or 0))

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}"

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[asyncssh.SFTPClient]:
        try:
            async with (
                asyncssh.connect(
                    self._host,
                    self._port,
                    username=self._user,
                    password=self._password,
                    known_hosts=None,
                    client_keys=None,
                    agent_path=None,
                    config=None,
                    connect_timeout=TIMEOUT_S,
                    login_timeout=TIMEOUT_S,
                ) as connection,
                connection.start_sftp_client() as sftp,
            ):
                yield sftp
        except (asyncssh.Error, OSError) as problem:
            raise Unavailable(f"the backups' store: {problem}") from None
