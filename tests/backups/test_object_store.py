"""One suite over the three kinds of store: a directory, S3 and SFTP."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from control_plane.backups import s3_store
from control_plane.backups.object_store import ObjectStore, open_store
from control_plane.reconcile.ports import Unavailable
from tests.backups.remote import CREDENTIALS, s3_server, sftp_server, under

pytestmark = pytest.mark.slow
KINDS = {"s3": s3_server, "sftp": sftp_server}


@pytest.fixture(scope="module", params=["folder", "s3", "sftp"])
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A `replica_url` of that kind."""
    if request.param == "folder":
        yield f"{tmp_path_factory.mktemp('stores')}/NAME"
        return
    with KINDS[request.param]() as url:
        yield url


@pytest.fixture
def store(address: str, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """A store with nothing in it."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setitem(os.environ, name, value)
    own = under(address, uuid.uuid4().hex)
    if address.startswith("/"):
        Path(own).mkdir()
    opened = open_store(own)
    assert opened is not None
    return opened


async def names(store: ObjectStore, folder: str) -> list[str]:
    return [each.name for each in await store.entries(folder)]


async def test_what_is_put_is_got_again_and_a_second_put_replaces_it(store: ObjectStore) -> None:
    await store.put("a/b/one", b"first")
    await store.put("a/b/one", b"\x00second\xff")
    assert await store.get("a/b/one") == b"\x00second\xff"
    assert await names(store, "a") == ["a/b/one"]


async def test_what_is_not_there_is_none_and_an_empty_list(store: ObjectStore) -> None:
    assert await store.get("a/b/none") is None
    assert await store.entries("nowhere") == []
    await store.remove(["a/b/none"])
    await store.remove_folder("nowhere")


async def test_a_list_has_every_depth_of_one_folder_with_sizes_and_times(store: ObjectStore) -> None:
    for name in ("acme/1/x", "acme/1/deep/er/y", "acme/z", "acme-two/x"):
        await store.put(name, name.encode())
    found = await store.entries("acme")
    assert [each.name for each in found] == ["acme/1/deep/er/y", "acme/1/x", "acme/z"]
    assert [each.size for each in found] == [len(each.name) for each in found]
    assert all(abs(each.modified - time.time()) < 60 for each in found)


async def test_folders_are_those_directly_in_one(store: ObjectStore) -> None:
    for name in ("tenants/acme/1/x", "tenants/acme/2/y", "tenants/acme-two/x", "tenants/file", "other/x"):
        await store.put(name, b"")
    assert await store.folders("tenants") == {"acme", "acme-two"}
    assert await store.folders("nowhere") == set()


async def test_a_folder_is_removed_whole_and_its_neighbour_is_not(store: ObjectStore) -> None:
    for name in ("acme/1/x", "acme/2/y", "acme-two/x"):
        await store.put(name, b"")
    await store.remove_folder("acme")
    await store.remove_folder("acme")
    assert await names(store, "acme") == []
    assert await names(store, "acme-two") == ["acme-two/x"]


async def test_objects_are_removed_by_name(store: ObjectStore) -> None:
    for name in ("acme/x", "acme/y", "acme/z"):
        await store.put(name, b"")
    await store.remove(["acme/x", "acme/z", "acme/never"])
    assert await names(store, "acme") == ["acme/y"]


async def test_more_objects_than_a_page_are_listed_and_removed(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_store, "PAGE", 5)
    for n in range(12):
        await store.put(f"many/{n:05d}", b"")
    assert await names(store, "many") == [f"many/{n:05d}" for n in range(12)]
    await store.remove_folder("many")
    assert await store.entries("many") == []


@pytest.mark.parametrize("url", ["s3://backups/x?endpoint=http://127.0.0.1:9", "sftp://a:b@127.0.0.1:9/x"])
async def test_a_store_that_is_away_is_unavailable(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setitem(os.environ, name, value)
    store = open_store(url)
    assert store is not None
    with pytest.raises(Unavailable):
        await store.entries("x")
    with pytest.raises(Unavailable):
        await store.put("x/y", b"")


async def test_a_folder_that_is_not_mounted_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "unmounted"))
    assert store is not None
    with pytest.raises(Unavailable):
        await store.remove_folder("tenants/acme")
