"""What is written for the activator, and what it makes of it when the control plane is away."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from control_plane.config import Config
from control_plane.domain.tenants import Generation, Status
from control_plane.routing.snapshot import INDEX, Snapshot, Unreadable
from tests.control_plane.conftest import Api


@pytest.fixture
async def tenants(api: Api) -> dict[str, dict[str, Any]]:
    """Three, as created."""
    return {slug: (await api("POST", "/api/tenants", {"slug": slug})).json() for slug in ("acme", "bob", "eve")}


async def written(api: Api) -> None:
    """Return once all that was done is in the folder."""
    seen = {tenant.slug: tenant.generation for tenant in await api.plane.store.tenants()}
    while not all(api.plane.snapshot.has(slug, generation) for slug, generation in seen.items()):
        await api.plane.snapshot.rewritten.wait(api.plane.snapshot.rewritten.count, 5)


def files(config: Config) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in config.snapshot_dir.glob("*.json")}


async def test_a_change_of_one_tenant_writes_that_tenants_file_alone(
    api: Api, tenants: dict[str, Any], config: Config
) -> None:
    await written(api)
    before = files(config)
    await api("POST", "/api/tenants/bob/keys?wait=true", {"name": "k"})
    after = files(config)
    assert {name for name in after if after[name] != before[name]} == {"bob.json"}
    assert before.keys() == {"acme.json", "bob.json", "eve.json"}


async def test_a_status_that_the_loop_wrote_is_seen_by_the_activator(
    api: Api, tenants: dict[str, Any], config: Config
) -> None:
    await written(api)
    count = api.plane.snapshot.rewritten.count
    await api.plane.store.save_status("acme", Generation(1, 1), status=Status.FAILED, failure="backup_unreadable")
    await api.plane.snapshot.rewritten.wait(count, 10)
    view = Snapshot(config.snapshot_dir).tenant("acme")
    assert view is not None and (view.status, view.failure) == (Status.FAILED, "backup_unreadable")


async def test_only_the_owner_may_read_it(api: Api, tenants: dict[str, Any], config: Config) -> None:
    await written(api)
    assert stat.S_IMODE(config.snapshot_dir.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in config.snapshot_dir.iterdir()} == {0o600}


async def test_no_key_is_written(api: Api, tenants: dict[str, Any], config: Config) -> None:
    await written(api)
    everything = "".join(path.read_text() for path in config.snapshot_dir.iterdir())
    assert tenants["acme"]["api_key"] not in everything and tenants["acme"]["admin_key"] not in everything


async def test_a_purged_tenant_is_gone_from_it(api: Api, tenants: dict[str, Any], config: Config) -> None:
    await written(api)
    reader = Snapshot(config.snapshot_dir)
    assert reader.tenant("acme") is not None
    count = api.plane.snapshot.rewritten.count
    await api.plane.store.purge("acme")
    await api.plane.snapshot.rewritten.wait(count, 10)
    assert reader.tenant("acme") is None
    assert not (config.snapshot_dir / "acme.json").exists()


async def test_a_torn_file_lets_nobody_in_and_is_made_whole(api: Api, tenants: dict[str, Any], config: Config) -> None:
    await written(api)
    reader, path = Snapshot(config.snapshot_dir), config.snapshot_dir / "acme.json"
    assert reader.tenant("acme") is not None
    whole = path.read_bytes()
    for torn in (b"", whole[: len(whole) // 2], b"[]", b'{"slug": "acme"}', whole.replace(b'"acme"', b'"bob"', 1)):
        path.write_bytes(torn)
        with pytest.raises(Unreadable):
            reader.tenant("acme")
    await api.plane.snapshot.write()
    view = reader.tenant("acme")
    assert view is not None and view.admits([tenants["acme"]["api_key"]], 0)


async def test_a_file_that_is_missing_lets_nobody_in_and_is_written_again(
    api: Api, tenants: dict[str, Any], config: Config
) -> None:
    await written(api)
    reader, path = Snapshot(config.snapshot_dir), config.snapshot_dir / "acme.json"
    assert reader.tenant("acme") is not None
    path.unlink()
    assert reader.tenant("acme") is None
    await api.plane.snapshot.write()
    assert reader.tenant("acme") is not None


async def test_what_is_left_of_a_tenant_that_there_is_not_is_removed(
    api: Api, tenants: dict[str, Any], config: Config
) -> None:
    await written(api)
    stray = json.loads((config.snapshot_dir / "acme.json").read_text()) | {"slug": "stray"}
    (config.snapshot_dir / "stray.json").write_text(json.dumps(stray))
    await api.plane.snapshot.write()
    assert Snapshot(config.snapshot_dir).tenant("stray") is None


async def test_after_a_crash_of_the_machine_nothing_is_believed_until_the_plane_confirms_it(
    api: Api, tenants: dict[str, Any], config: Config
) -> None:
    await written(api)
    reader = Snapshot(config.snapshot_dir)
    assert reader.written_at() is not None
    (config.snapshot_dir / INDEX).write_text(json.dumps({"written_at": 1.0, "boot": "an earlier one"}))
    assert reader.written_at() is None
    with pytest.raises(Unreadable):
        reader.tenant("acme")
    await api.plane.snapshot.write()
    assert reader.tenant("acme") is not None


async def test_files_that_say_what_they_should_are_left_alone(
    api: Api, tenants: dict[str, Any], config: Config
) -> None:
    await written(api)
    before = files(config)
    await api.plane.snapshot.write()
    assert files(config) == before


async def test_no_file_outside_the_folder_is_a_tenants(api: Api, tenants: dict[str, Any], config: Config) -> None:
    await written(api)
    elsewhere = json.loads((config.snapshot_dir / "acme.json").read_text()) | {"slug": "../elsewhere"}
    (config.run_dir / "elsewhere.json").write_text(json.dumps(elsewhere))
    assert Snapshot(config.snapshot_dir).tenant("../elsewhere") is None


@pytest.mark.parametrize("slug", ["", "..", "../operator", "acme/../bob", ".index", "ACME"])
async def test_what_is_no_slug_names_no_file(api: Api, tenants: dict[str, Any], config: Config, slug: str) -> None:
    await written(api)
    assert Snapshot(config.snapshot_dir).tenant(slug) is None


async def test_it_remembers_a_bounded_number_of_tenants(
    api: Api, tenants: dict[str, Any], config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written(api)
    monkeypatch.setattr("control_plane.routing.snapshot.REMEMBERED", 2)
    reader = Snapshot(config.snapshot_dir)
    for slug in ("acme", "bob", "eve", "acme"):
        view = reader.tenant(slug)
        assert view is not None and view.slug == slug
    assert len(reader._tenants) == 2


def test_without_a_folder_nothing_is_known(tmp_path: Path) -> None:
    with pytest.raises(Unreadable):
        Snapshot(tmp_path / "none").tenant("acme")
