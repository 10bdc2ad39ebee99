"""Data folders: what they say of themselves, and that a crash at any step of an exchange loses nothing."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from control_plane.config import Config, load_config
from control_plane.domain.secrets import TenantSecrets
from control_plane.reconcile import volumes
from control_plane.reconcile.ports import LedgerHead, Unavailable
from control_plane.reconcile.volumes import FolderVolumes

SECRETS = TenantSecrets("sy_inst_one", "c2VjcmV0")


class Crash(BaseException):
    """The control plane dies here."""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    made = load_config({"data": tmp_path}, {})
    made.prepare()
    return made


@pytest.fixture
def folders(config: Config) -> FolderVolumes:
    return FolderVolumes(config)


def put_database(config: Config, text: str) -> None:
    (config.tenant_dir("acme") / "stockyard.db").write_text(text)


def database(config: Config) -> str:
    return (config.tenant_dir("acme") / "stockyard.db").read_text()


async def staged(folders: FolderVolumes, text: str, request: float, epoch: int | None = 1) -> None:
    (await folders.staging_file("acme")).write_text(text)
    await folders.staged("acme", request, epoch)


async def test_a_folder_that_is_not_there_is_an_empty_volume_without_a_mark(folders: FolderVolumes) -> None:
    seen = await folders.state("acme")
    assert (seen.database, seen.epoch, seen.staged, seen.aside) == (False, None, None, None)


async def test_a_prepared_volume_is_of_its_epoch_and_not_yet_replicated(folders: FolderVolumes) -> None:
    await folders.prepare("acme", 3)
    seen = await folders.state("acme")
    assert (seen.epoch, seen.replicated, seen.database) == (3, False, False)
    await folders.mark_replicated("acme")
    assert (await folders.state("acme")).replicated


async def test_a_removed_folder_is_not_marked_as_replicated(folders: FolderVolumes) -> None:
    with pytest.raises(Unavailable):
        await folders.mark_replicated("acme")


async def test_a_staged_database_counts_only_when_it_is_whole(folders: FolderVolumes) -> None:
    (await folders.staging_file("acme")).write_text("half")
    assert (await folders.state("acme")).staged is None
    await folders.staged("acme", 12.5, 4)
    seen = await folders.state("acme")
    assert (seen.staged, seen.staged_epoch) == (12.5, 4)


async def test_a_restored_database_takes_the_place_of_the_present_one_which_is_kept(
    folders: FolderVolumes, config: Config
) -> None:
    await folders.prepare("acme", 1)
    put_database(config, "old")
    await staged(folders, "restored", 12.5)
    await folders.activate("acme", 2)
    seen = await folders.state("acme")
    assert (database(config), seen.epoch, seen.restored_for, seen.aside, seen.staged) == ("restored", 2, 12.5, 1, None)
    await folders.put_back("acme", 3)
    seen = await folders.state("acme")
    assert (database(config), seen.epoch, seen.restored_for, seen.aside) == ("old", 3, None, None)


async def test_of_two_restores_in_a_row_the_database_from_before_both_is_kept(
    folders: FolderVolumes, config: Config
) -> None:
    await folders.prepare("acme", 1)
    put_database(config, "old")
    for epoch, text in ((2, "first"), (3, "second")):
        await staged(folders, text, float(epoch))
        await folders.activate("acme", epoch)
    await folders.put_back("acme", 4)
    assert database(config) == "old"


Step = Callable[[FolderVolumes], Awaitable[None]]


async def _until_done(config: Config, step: Step, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run the step, dying at its first, second, third… change of the disk, and then once more to its end."""
    crashes = 0
    for dies_at in range(1, 20):
        left = dies_at

        def mortal(real: Callable[..., object]) -> Callable[..., object]:
            def change(*arguments: object, **named: object) -> object:
                nonlocal left
                left -= 1
                if left == 0:
                    raise Crash
                return real(*arguments, **named)

            return change

        with monkeypatch.context() as patch:
            patch.setattr(volumes, "_write_json", mortal(volumes._write_json))
            patch.setattr(volumes, "_remove", mortal(volumes._remove))
            patch.setattr(Path, "rename", mortal(Path.rename))
            try:
                await step(FolderVolumes(config))
                return crashes
            except Crash:
                crashes += 1
    raise AssertionError("it never ended")


async def test_a_crash_at_any_point_of_an_exchange_loses_neither_database(
    folders: FolderVolumes, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    await folders.prepare("acme", 1)
    put_database(config, "old")
    await staged(folders, "restored", 12.5)

    async def exchange(part: FolderVolumes) -> None:
        seen = await part.state("acme")
        if seen.staged is not None:  # else the crash came after the last rename
            await part.activate("acme", 2)

    assert await _until_done(config, exchange, monkeypatch) >= 4
    seen = await folders.state("acme")
    assert (database(config), seen.epoch, seen.aside) == ("restored", 2, 1)


async def test_a_crash_at_any_point_of_putting_back_loses_nothing(
    folders: FolderVolumes, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    await folders.prepare("acme", 1)
    put_database(config, "old")
    await staged(folders, "restored", 12.5)
    await folders.activate("acme", 2)
    assert await _until_done(config, lambda part: part.put_back("acme", 3), monkeypatch) >= 2
    assert (database(config), (await folders.state("acme")).epoch) == ("old", 3)


async def test_nothing_that_an_instance_puts_in_place_of_its_mark_is_followed(
    folders: FolderVolumes, config: Config, tmp_path: Path
) -> None:
    await folders.prepare("acme", 1)
    mark, elsewhere = config.tenant_dir("acme") / "volume.json", tmp_path / "elsewhere"
    elsewhere.write_text('{"epoch": 9}')
    mark.unlink()
    mark.symlink_to(elsewhere)
    assert (await folders.state("acme")).epoch is None
    await folders.prepare("acme", 2)
    assert elsewhere.read_text() == '{"epoch": 9}'
    mark.unlink()
    os.mkfifo(mark)
    assert (await folders.state("acme")).epoch is None


async def test_a_link_in_place_of_the_database_is_no_database(folders: FolderVolumes, config: Config) -> None:
    await folders.prepare("acme", 1)
    (config.tenant_dir("acme") / "stockyard.db").symlink_to("/etc/passwd")
    assert not (await folders.state("acme")).database


async def test_the_instance_file_says_what_the_instance_needs_and_nobody_else_reads_it(
    folders: FolderVolumes, config: Config
) -> None:
    for fresh in (True, False):
        path = await folders.write_instance_file(
            "acme", epoch=2, fresh=fresh, previous_head=LedgerHead(7, "ab"), secrets=SECRETS
        )
        assert path == config.instance_file("acme")
        assert stat.S_IMODE(path.stat().st_mode) == 0o400
        found = json.loads(path.read_bytes())
        assert (found["epoch"], found["fresh"], found["previous_head"]) == (2, fresh, {"seq": 7, "hash": "ab"})
        assert (found["slug"], found["instance_key"], found["secret_key"]) == ("acme", "sy_inst_one", "c2VjcmV0")


async def test_nothing_of_a_purged_tenant_is_left(folders: FolderVolumes, config: Config) -> None:
    await folders.prepare("acme", 1)
    put_database(config, "old")
    await staged(folders, "restored", 1.0)
    await folders.socket_dir("acme")
    await folders.write_instance_file("acme", epoch=1, fresh=True, previous_head=None, secrets=SECRETS)
    await folders.destroy("acme")
    left = [path for path in config.data.rglob("*") if "acme" in path.name]
    assert left == []


async def test_once_there_may_be_a_backup_no_late_start_may_make_a_database(
    folders: FolderVolumes, config: Config
) -> None:
    await folders.prepare("acme", 1)
    path = await folders.write_instance_file("acme", epoch=1, fresh=True, previous_head=None, secrets=SECRETS)
    before = json.loads(path.read_bytes())
    await folders.mark_replicated("acme")
    assert json.loads(path.read_bytes()) == before | {"fresh": False}
    assert path.stat().st_mode & 0o777 == 0o400
