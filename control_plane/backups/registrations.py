"""Which epoch each database is being copied to: Litestream tells the databases only."""

from __future__ import annotations

import shutil
import stat
from contextlib import suppress
from pathlib import Path

from control_plane.backups.control_socket import ControlSocket
from control_plane.backups.process import metadata_folder
from control_plane.reconcile.ports import Unavailable


class Registrations:
    """Registers databases, and remembers each one's epoch in a file beside the control socket.

    What holds at every moment, and so after a crash at any: a database that Litestream lists, and whose file names
    epoch N, is being copied to epoch N. Hence the order: unregister, then the file, then register.
    """

    def __init__(self, control: ControlSocket, folder: Path) -> None:
        self._control = control
        self._folder = folder

    async def epoch(self, name: str, database: Path) -> int | None:
        """The epoch that the database is being copied to now, None if it is not."""
        return self.noted(name) if await self._control.copies(database) else None

    async def register(self, name: str, database: Path, epoch: int, replica_url: str) -> None:
        """Copy the database to this epoch from now on. Raises `Unavailable` while it goes to another one."""
        listed = await self._control.copies(database)
        noted = self.noted(name)
        if listed and noted == epoch:
            return
        if listed and noted is not None:
            raise Unavailable(f"{name} is being copied to epoch {noted}; unregister it before epoch {epoch}")
        if listed:
            await self._control.unregister(database)
        _require_plain_file(database)
        if noted != epoch:
            with suppress(FileNotFoundError):
                shutil.rmtree(metadata_folder(database))  # it continues the transaction ids of another epoch
            self._note(name, epoch)
        await self._control.register(database, replica_url)

    async def unregister(self, name: str, database: Path) -> None:
        """Sync a last time and end the copying. A database that is gone has nothing to sync, which is no error."""
        if not await self._control.copies(database):
            return
        if database.exists():
            await self._control.sync(database)
            await self._control.unregister(database)
            return
        with suppress(Unavailable):  # answers with an error for want of the file, and has ended the copying
            await self._control.unregister(database, timeout_s=1)

    def forget(self, name: str) -> None:
        """Drop the note of a database that will not come back."""
        (self._folder / name).unlink(missing_ok=True)

    def noted(self, name: str) -> int | None:
        """The epoch that was last registered, whether or not the copying still runs."""
        with suppress(FileNotFoundError, ValueError):
            return int((self._folder / name).read_text(encoding="ascii"))
        return None

    def _note(self, name: str, epoch: int) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        making = self._folder / f"{name}.making"
        making.write_text(str(epoch), encoding="ascii")
        making.replace(self._folder / name)


def _require_plain_file(database: Path) -> None:
    """A tenant may write its folder, so what lies there may be a link to somebody else's file."""
    try:
        found = database.lstat()
    except FileNotFoundError:
        raise Unavailable(f"there is no database at {database}") from None
    if not stat.S_ISREG(found.st_mode):
        raise Unavailable(f"{database} is not a plain file")
