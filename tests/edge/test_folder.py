"""The routing table: a folder of hard links to sockets."""

from __future__ import annotations

import pytest

from control_plane.config import Config
from control_plane.reconcile.ports import Unavailable
from control_plane.routing.edge import FolderEdge
from tests.edge.scripted_instance import ScriptedInstance


async def test_a_link_is_fresh_until_the_instance_starts_again(config: Config) -> None:
    edge = FolderEdge(config)
    async with ScriptedInstance(config.own_socket("one")):
        await edge.link("one")
        assert dict(await edge.linked()) == {"one": True}
    async with ScriptedInstance(config.own_socket("one")):
        assert dict(await edge.linked()) == {"one": False}
        await edge.link("one")
        await edge.link("one")
        assert dict(await edge.linked()) == {"one": True}
        assert [path.name for path in config.edge_dir.iterdir()] == ["one.sock"]
    await edge.unlink("one")
    await edge.unlink("one")
    assert not await edge.linked()


async def test_nothing_is_routed_to_what_is_not_a_socket(config: Config) -> None:
    edge, own = FolderEdge(config), config.own_socket("two")
    own.parent.mkdir(parents=True)
    with pytest.raises(Unavailable):
        await edge.link("two")
    own.write_text("no socket")
    with pytest.raises(Unavailable):
        await edge.link("two")
    assert not await edge.linked()


async def test_a_symbolic_link_to_another_tenants_socket_is_not_followed(config: Config) -> None:
    edge, own = FolderEdge(config), config.own_socket("thief")
    own.parent.mkdir(parents=True)
    async with ScriptedInstance(config.own_socket("victim")) as victim:
        own.symlink_to(victim.path)
        with pytest.raises(Unavailable):
            await edge.link("thief")
    assert not config.edge_socket("thief").exists()


async def test_a_link_that_fails_leaves_the_one_before_in_place(config: Config) -> None:
    edge = FolderEdge(config)
    async with ScriptedInstance(config.own_socket("three")) as instance:
        await edge.link("three")
        instance.path.unlink()
        with pytest.raises(Unavailable):
            await edge.link("three")
        assert dict(await edge.linked()) == {"three": False}
    await edge.unlink("three")
