"""The data folder: one process at a time, on a local disk."""

from __future__ import annotations

import ctypes
import fcntl
import os
from pathlib import Path

LOCK_NAME = "lock"

NETWORK_FILE_SYSTEMS = {
    0x6969: "NFS",
    0xFF534D42: "CIFS",
    0xFE534D42: "SMB",
    0x517B: "SMB",
    0x564C: "NCP",
    0x01021997: "9P",
    0x5346414F: "AFS",
    0x00C36400: "Ceph",
    0x47504653: "GPFS",
    0x0BD00BD0: "Lustre",
}
"""statfs(2) magic numbers of file systems whose locks SQLite and flock cannot rely on."""


class DataFolderError(Exception):
    """The data folder, or the database in it, cannot be used; the message says why and what to do.

    `exit_code` is what a command ends with.
    """

    exit_code = 1


class DatabaseMissing(DataFolderError):
    """There is no database where one must be; none was made."""

    exit_code = 3


def network_file_system(folder: Path) -> str:
    """The name of the network file system that the folder is on; empty for a local one."""
    buffer = (ctypes.c_ulong * 32)()
    if ctypes.CDLL(None, use_errno=True).statfs(os.fsencode(folder), ctypes.byref(buffer)) != 0:
        return ""
    return NETWORK_FILE_SYSTEMS.get(buffer[0] & 0xFFFFFFFF, "")


def require_local(folder: Path) -> None:
    """Raise `DataFolderError` when the folder is on a network file system."""
    network = network_file_system(folder)
    if network:
        raise DataFolderError(
            f"{folder} is on {network}, a network file system, on which SQLite's locks do not hold; use a local disk"
        )


class FolderLock:
    """Held from construction until `release` or the process's end. The file names the holder."""

    def __init__(self, folder: Path) -> None:
        """Raises `DataFolderError` naming the process that holds it."""
        self._descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._descriptor)
            raise DataFolderError(
                f"the data folder {folder} is in use by process {holder}; stop it first, or name another with --data"
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        """Let another process in."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
