"""Tenants' data folders and instance files on this machine.

`tenants/SLUG` is the volume; its mark `volume.json` names the epoch that this very folder may continue. A restore is
written to `tenants/SLUG.staged` and exchanged for the volume by two renames, the folder before going to
`tenants/SLUG.aside`: a crash in between leaves a missing volume and a staged one, from which it goes on.

An instance may write its folder, so nothing there is followed or believed: the mark is read from a plain file only,
and a false one only makes the tenant begin a new epoch.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from control_plane.config import Config
from control_plane.domain.secrets import TenantSecrets
from control_plane.reconcile.ports import LedgerHead, Unavailable, VolumeState

DATABASE = "stockyard.db"
MARK = "volume.json"
STAGED_MARK = "staged.json"
MARK_MOST_BYTES = 4096


class FolderVolumes:
    """`Volumes` in the control plane's data folder; `owner` is the user id that instances run under, if another."""

    def __init__(self, config: Config, owner: int | None = None) -> None:
        self._config = config
        self._owner = owner

    async def state(self, slug: str) -> VolumeState:
        """What stands on the volume and beside it."""
        return await asyncio.to_thread(self._state, slug)

    async def prepare(self, slug: str, epoch: int) -> None:
        """Folders and mark."""
        await asyncio.to_thread(self._prepare, slug, epoch)

    async def mark_replicated(self, slug: str) -> None:
        """From here on the epoch's replica may hold something, and no start may make a database in its stead."""
        await asyncio.to_thread(self._change_mark, slug, {"replicated": True})
        await asyncio.to_thread(self._forbid_fresh, slug)

    async def staging_file(self, slug: str) -> Path:
        """The file to restore to, in an empty staging folder."""
        return await asyncio.to_thread(self._staging_file, slug)

    async def staged(self, slug: str, request: float, epoch: int | None) -> None:
        """The staging file is whole."""
        mark = {"request": request, "epoch": epoch}
        await asyncio.to_thread(_write_json, self._staged_dir(slug), STAGED_MARK, mark)

    async def activate(self, slug: str, epoch: int) -> None:
        """Exchange the staged folder for the volume."""
        await asyncio.to_thread(self._activate, slug, epoch)

    async def reject(self, slug: str) -> None:
        """The restored database did not verify."""
        await asyncio.to_thread(self._change_mark, slug, {"rejected": True})

    async def put_back(self, slug: str, epoch: int) -> None:
        """The folder kept aside becomes the volume again."""
        await asyncio.to_thread(self._put_back, slug, epoch)

    async def drop_aside(self, slug: str) -> None:
        """Remove what was kept aside."""
        await asyncio.to_thread(_remove, self._aside_dir(slug))

    async def drop_staged(self, slug: str) -> None:
        """Remove what a restore left."""
        await asyncio.to_thread(_remove, self._staged_dir(slug))

    async def write_instance_file(
        self, slug: str, *, epoch: int, fresh: bool, previous_head: LedgerHead | None, secrets: TenantSecrets
    ) -> Path:
        """Write instance.json; readable by the instance's user and nobody else."""
        document = {
            "slug": slug,
            "epoch": epoch,
            "fresh": fresh,
            "previous_head": asdict(previous_head) if previous_head is not None else None,
            "allow_private_networks": self._config.allow_private_providers,
            "instance_key": secrets.instance_key,
            "secret_key": secrets.secret_key,
        }
        return await asyncio.to_thread(self._write_instance_file, slug, document)

    async def data_dir(self, slug: str) -> Path:
        """The volume's folder."""
        return self._config.tenant_dir(slug)

    async def socket_dir(self, slug: str) -> Path:
        """The folder of own.sock, made if it is missing: it lies under run, which may not outlive a reboot."""
        folder = self._config.socket_dir(slug)
        await asyncio.to_thread(self._own_folder, folder)
        return folder

    async def destroy(self, slug: str) -> None:
        """Remove everything of the tenant on this machine."""
        folders = [self._config.tenant_dir(slug), self._aside_dir(slug), self._staged_dir(slug)]
        folders += [self._config.socket_dir(slug), self._config.instance_file(slug).parent]
        for folder in folders:
            await asyncio.to_thread(_remove, folder)

    async def owners(self) -> set[str]:
        """Slugs with a data folder, one that is staged or kept aside included."""
        return await asyncio.to_thread(self._owners)

    # --- in a thread ----------------------------------------------------------------------------------------------------

    def _state(self, slug: str) -> VolumeState:
        volume, aside, staged = self._config.tenant_dir(slug), self._aside_dir(slug), self._staged_dir(slug)
        mark, waiting = _read_json(volume, MARK), _read_json(staged, STAGED_MARK)
        epoch, request, source = mark.get("epoch"), waiting.get("request"), waiting.get("epoch")
        restored_for, kept = mark.get("restored_for"), _read_json(aside, MARK).get("epoch")
        return VolumeState(
            database=_is_database(volume / DATABASE),
            epoch=epoch if isinstance(epoch, int) else None,
            replicated=mark.get("replicated") is True,
            staged=float(request) if isinstance(request, (int, float)) and _is_database(staged / DATABASE) else None,
            staged_epoch=source if isinstance(source, int) else None,
            restored_for=float(restored_for) if isinstance(restored_for, (int, float)) else None,
            rejected=mark.get("rejected") is True,
            aside=(kept if isinstance(kept, int) else 0) if _is_database(aside / DATABASE) else None,
        )

    def _owners(self) -> set[str]:
        with os.scandir(self._config.tenants_dir) as found:
            return {each.name.partition(".")[0] for each in found if each.is_dir(follow_symlinks=False)}

    def _prepare(self, slug: str, epoch: int) -> None:
        self._own_folder(self._config.tenant_dir(slug))
        _write_json(self._config.tenant_dir(slug), MARK, {"epoch": epoch})

    def _change_mark(self, slug: str, changes: dict[str, Any]) -> None:
        volume = self._config.tenant_dir(slug)
        mark = _read_json(volume, MARK)
        if not mark:
            raise Unavailable(f"the data folder of {slug} is gone")
        if mark | changes != mark:
            _write_json(volume, MARK, mark | changes)

    def _forbid_fresh(self, slug: str) -> None:
        path = self._config.instance_file(slug)
        document = _read_json(path.parent, path.name)
        if document.get("fresh"):
            self._write_instance_file(slug, document | {"fresh": False})

    def _staging_file(self, slug: str) -> Path:
        staged = self._staged_dir(slug)
        _remove(staged)
        staged.mkdir(mode=0o700, parents=True)
        return staged / DATABASE

    def _activate(self, slug: str, epoch: int) -> None:
        volume, aside, staged = self._config.tenant_dir(slug), self._aside_dir(slug), self._staged_dir(slug)
        request = _read_json(staged, STAGED_MARK).get("request")
        _write_json(staged, MARK, {"epoch": epoch, "restored_for": request})
        self._own_tree(staged)
        if _is_database(volume / DATABASE) and not _is_database(aside / DATABASE):
            _remove(aside)
            volume.rename(aside)
        _remove(volume)  # without a database, or restored and never judged: the one to fall back on is aside already
        staged.rename(volume)
        (volume / STAGED_MARK).unlink(missing_ok=True)
        _sync_folder(volume.parent)

    def _put_back(self, slug: str, epoch: int) -> None:
        volume, aside = self._config.tenant_dir(slug), self._aside_dir(slug)
        kept = _is_database(aside / DATABASE)
        if kept:
            _write_json(aside, MARK, {"epoch": epoch})
        _remove(volume)
        if kept:
            aside.rename(volume)
        _sync_folder(volume.parent)

    def _write_instance_file(self, slug: str, document: dict[str, Any]) -> Path:
        path = self._config.instance_file(slug)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_json(path.parent, path.name, document, mode=0o400)
        if self._owner is not None:
            os.chown(path, self._owner, self._owner)
        return path

    def _own_folder(self, folder: Path) -> None:
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        if self._owner is not None and folder.stat().st_uid != self._owner:
            os.chown(folder, self._owner, self._owner, follow_symlinks=False)

    def _own_tree(self, folder: Path) -> None:
        folder.chmod(0o750)
        for path in (folder, *folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                path.chmod(path.stat().st_mode & 0o640)  # what Litestream restores can be read by everybody
            if self._owner is not None:
                os.chown(path, self._owner, self._owner, follow_symlinks=False)

    def _staged_dir(self, slug: str) -> Path:
        return self._config.tenants_dir / f"{slug}.staged"

    def _aside_dir(self, slug: str) -> Path:
        return self._config.tenants_dir / f"{slug}.aside"


def _is_database(path: Path) -> bool:
    with suppress(OSError):
        found = path.lstat()
        return stat.S_ISREG(found.st_mode) and found.st_size > 0
    return False


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    """A small JSON object from a plain file; {} for anything else."""
    with suppress(OSError, ValueError):
        handle = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if stat.S_ISREG(os.fstat(handle).st_mode):
                found = orjson.loads(os.read(handle, MARK_MOST_BYTES))
                return found if isinstance(found, dict) else {}
        finally:
            os.close(handle)
    return {}


def _write_json(folder: Path, name: str, document: dict[str, Any], mode: int = 0o644) -> None:
    """Write the file whole, durably, following nothing that lies there."""
    making = folder / f".{name}.making"
    making.unlink(missing_ok=True)
    handle = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        os.write(handle, orjson.dumps(document))
        os.fsync(handle)
    finally:
        os.close(handle)
    making.replace(folder / name)
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(folder: Path) -> None:
    """Remove a folder and all in it, as often as asked."""
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)
