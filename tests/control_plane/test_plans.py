"""A plan that is changed in cloud.toml reaches the instances of its tenants: their state gets its next generation."""

from __future__ import annotations

from dataclasses import replace

from control_plane.domain.plans import FREE, PRO, Plan
from control_plane.store import plans
from tests.control_plane.conftest import Api


async def _taken_up(api: Api, *known: Plan) -> tuple[list[str], int]:
    """The plans that had changed, and the number of the tenant's generation then."""
    changed = await api.plane.database.write(lambda connection: plans.take_up(connection, known))
    tenant = await api.plane.store.tenant("acme")
    assert tenant is not None
    return changed, tenant.generation.number


async def test_a_changed_plan_moves_its_tenants_on_once_and_others_not(api: Api) -> None:
    await api.sign_up("acme")
    assert (await api.plane.store.tenant("acme")).plan == "free"  # type: ignore[union-attr]
    _, number = await _taken_up(api, FREE, PRO)
    assert await _taken_up(api, FREE, PRO) == ([], number)
    assert await _taken_up(api, FREE, replace(PRO, rpm=7)) == (["pro"], number)
    leased = replace(FREE, key_lease_s=600)
    assert await _taken_up(api, leased, replace(PRO, rpm=7)) == (["free"], number + 1)
    assert await _taken_up(api, leased, replace(PRO, rpm=7)) == ([], number + 1)


async def test_what_instances_are_not_told_of_a_plan_moves_nobody(api: Api) -> None:
    await api.sign_up("acme")
    _, number = await _taken_up(api, FREE)
    assert await _taken_up(api, replace(FREE, backup_days=3, idle_nap_s=9)) == ([], number)


async def test_a_start_takes_the_configured_plans_up(api: Api) -> None:
    await api.sign_up("acme")
    known = [api.plane.config.plan(name) for name in api.plane.config.plans]
    assert (await _taken_up(api, *known))[0] == []
