"""What somebody did to a machine behind the control plane's back is mended, and what it did not make is not destroyed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from control_plane.domain.tenants import Desired, Status
from control_plane.reconcile.orphans import PATIENCE_S
from control_plane.runtimes.protocol import RunState
from tests.simulation.test_promptness import Calm, story

MENDED_S = 30.0  # an awake tenant of which nothing seems to have changed is looked at every fifteen seconds


def healthy(machine: Calm, slug: str = "ada") -> bool:
    """Routed to, running, backed up, called running."""
    instance = machine.world.instances.get(slug)
    return (
        instance is not None
        and instance.state is RunState.RUNNING
        and machine.is_routed(slug)
        and machine.world.registered.get(slug) == instance.epoch == machine.tables.tenants[slug].epoch
        and machine.status(slug) is Status.RUNNING
    )


def unlink(machine: Calm) -> None:
    del machine.world.links["ada"]


def point_link_elsewhere(machine: Calm) -> None:
    machine.world.links["ada"] = "ada-0"


def remove_container(machine: Calm) -> None:
    del machine.world.instances["ada"]


def kill_process(machine: Calm) -> None:
    machine.world.end_instance(machine.world.instances["ada"], 137)


def exchange_for_another_revision(machine: Calm) -> None:
    machine.world.instances["ada"].revision = "somebody's"


def start_under_another_epoch(machine: Calm) -> None:
    machine.world.instances["ada"].epoch = 9


def forget_registration(machine: Calm) -> None:
    machine.world.registered.clear()


def register_elsewhere(machine: Calm) -> None:
    machine.world.registered["ada"] = 9


def freeze(machine: Calm) -> None:
    machine.world.instances["ada"].state = RunState.PAUSED


def hang(machine: Calm) -> None:
    machine.world.instances["ada"].works = False


def remove_data_folder(machine: Calm) -> None:
    del machine.world.volumes["ada"]


@pytest.mark.parametrize(
    "harm",
    [
        unlink,
        point_link_elsewhere,
        remove_container,
        kill_process,
        exchange_for_another_revision,
        start_under_another_epoch,
        forget_registration,
        register_elsewhere,
        freeze,
        hang,
        remove_data_folder,
    ],
)
def test_harm_done_by_hand_is_mended(harm: Callable[[Calm], None]) -> None:
    async def tell(machine: Calm) -> None:
        machine.tables.create("ada", 1_000, 2_000)
        await machine.until(lambda: healthy(machine), 10)
        await asyncio.sleep(3.0)
        harm(machine)
        before = machine.world.instances.get("ada")
        await asyncio.sleep(20.0)
        await machine.until(
            lambda: healthy(machine) and machine.world.is_ready(machine.world.instances["ada"]), MENDED_S
        )
        restarted = machine.world.instances["ada"] is not before
        keeps = (unlink, point_link_elsewhere, forget_registration, register_elsewhere, freeze)
        assert restarted is (harm not in keeps), "what only lost its route or its copy is not restarted"

    story(tell)


def test_a_removed_data_folder_comes_back_from_the_backup_as_a_new_epoch() -> None:
    async def tell(machine: Calm) -> None:
        machine.tables.create("ada", 1_000, 2_000)
        await machine.until(lambda: healthy(machine), 10)
        machine.database("ada").calls.append(machine.world.number())
        machine.database("ada").txid += 1
        machine.world.replicate("ada")
        calls = list(machine.database("ada").calls)
        del machine.world.volumes["ada"]
        await machine.until(lambda: healthy(machine) and machine.tables.tenants["ada"].epoch == 2, MENDED_S)
        assert machine.database("ada").calls == calls

    story(tell)


def test_an_instance_of_a_tenant_that_the_plane_knows_is_adopted_as_it_runs() -> None:
    async def tell(machine: Calm) -> None:
        machine.tables.create("ada", 1_000, 2_000)
        await machine.until(lambda: healthy(machine), 10)
        before = machine.world.instances["ada"].run_id
        async with machine.next_life():
            await asyncio.sleep(5.0)
            assert healthy(machine) and machine.world.instances["ada"].run_id == before

    story(tell)


def test_an_instance_that_nobody_owns_is_ended_after_a_while_and_its_data_kept() -> None:
    async def tell(machine: Calm) -> None:
        machine.world.make_instance("stray", 1, "old", works=True, ready_in=0.0)
        await asyncio.sleep(PATIENCE_S - 1.0)
        assert machine.world.instances["stray"].state is RunState.RUNNING
        await machine.until(lambda: "stray" not in machine.world.instances, 10)
        assert "stray" in machine.world.volumes
        assert machine.tables.orphans == [("stray", ["instance"])]

    story(tell)


def test_an_instance_whose_tenant_is_only_written_down_a_moment_later_is_kept() -> None:
    async def tell(machine: Calm) -> None:
        machine.world.make_instance("late", 1, "old", works=True, ready_in=0.0)
        await asyncio.sleep(PATIENCE_S - 1.5)
        machine.tables.create("late", 1_000, 2_000)
        machine.tables.tenants["late"].desired = Desired.RUNNING
        await asyncio.sleep(PATIENCE_S + 5.0)
        assert machine.tables.orphans == []

    story(tell)


def test_data_and_backups_that_nobody_owns_are_named_and_left_alone() -> None:
    async def tell(machine: Calm) -> None:
        machine.tables.create("ada", 1_000, 2_000)
        machine.world.fresh["lost"] = True
        machine.world.make_instance("lost", 1, "old", works=True, ready_in=0.0)
        machine.world.is_ready(machine.world.instances["lost"])
        machine.world.registered["lost"] = 1
        machine.world.replicate("lost")
        await machine.until(lambda: "lost" not in machine.world.instances, 20)
        async with machine.next_life() as reconciler:
            await asyncio.sleep(2.0)
            assert reconciler.status()["unowned"] == {"data": ["lost"], "backups": ["lost"]}
        assert "lost" in machine.world.volumes and ("lost", 1) in machine.world.replicas

    story(tell)
