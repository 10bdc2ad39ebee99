"""Mistakes to be planted: each is a change of the code under test that breaks an invariant in some history.

A simulation that finds none of these finds nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from control_plane.domain import usage
from control_plane.domain.tenants import Status
from control_plane.reconcile import plan, rounds
from control_plane.reconcile.actions import (
    Action,
    BeginRestoredLife,
    Candidate,
    Confirm,
    Link,
    PushState,
    Unlink,
)
from control_plane.reconcile.depth import Depth
from control_plane.reconcile.restore_plan import candidates, restore_request
from control_plane.reconcile.restoring import Restoring
from control_plane.reconcile.status import status_of
from control_plane.routing.nap import NapResumer
from control_plane.routing.snapshot import TenantView
from control_plane.routing.wake import Waker
from tests.simulation import customers, sim_store

Mutation = Callable[[pytest.MonkeyPatch], None]


def _without(name: str, dropped: type[Action]) -> Mutation:
    """A plan whose function `name` forgets one kind of action."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        real = getattr(plan, name)

        def forgetful(*arguments: object, **named: object) -> list[Action]:
            return [each for each in real(*arguments, **named) if not isinstance(each, dropped)]

        patch.setattr(plan, name, forgetful)

    return plant


def _no_fence(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(plan, "_fence", lambda tenant, seen: None)


def _no_new_epoch_after_a_restore(patch: pytest.MonkeyPatch) -> None:
    real = Restoring.carry_out

    async def same_epoch(self: Restoring, action: Action, tenant: object) -> None:
        if isinstance(action, BeginRestoredLife):
            await self._volumes.activate(tenant.slug, tenant.epoch)  # type: ignore[attr-defined]
        else:
            await real(self, action, tenant)  # type: ignore[arg-type]

    patch.setattr(Restoring, "carry_out", same_epoch)


def _older_backup_when_the_newest_is_unreadable(patch: pytest.MonkeyPatch) -> None:
    def unconfirmed(epochs: object, request: object) -> object:
        return tuple(Candidate(each.epoch, confirmed=False) for each in candidates(epochs, request))  # type: ignore[arg-type]

    patch.setattr(plan, "candidates", unconfirmed)


def _stop_believed(patch: pytest.MonkeyPatch) -> None:
    def hopeful(tenant: object, seen: object, depth: Depth) -> Status:
        return Status.ASLEEP if depth is Depth.SLEEP else status_of(tenant, seen, depth)  # type: ignore[arg-type]

    patch.setattr(rounds, "status_of", hopeful)


def _registered_while_exchanged(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        plan,
        "restore_request",
        lambda tenant, seen, depth: restore_request(tenant, replace(seen, registered=None), depth),
    )


# --- the activator ----------------------------------------------------------------------------------------------------


def _strangers_let_in(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(TenantView, "admits", lambda view, presented, now, kinds=(): True)


def _expired_let_in(patch: pytest.MonkeyPatch) -> None:
    real = TenantView.admits
    patch.setattr(TenantView, "admits", lambda view, presented, now, kinds=(): real(view, presented, 0.0, kinds))


def _nap_without_keys(patch: pytest.MonkeyPatch) -> None:
    async def resume(self: Any, slug: str) -> bool:
        await self._runtime.resume(slug)
        await self._instances.resume(slug)
        await self._edge.link(slug)
        return True

    patch.setattr(NapResumer, "__call__", resume)


def _forwarded_unrouted(patch: pytest.MonkeyPatch) -> None:
    async def at_once(self: Any, slug: str) -> bool:
        return True

    patch.setattr(Waker, "routed", at_once)


# --- keys -------------------------------------------------------------------------------------------------------------


def _effective_at_once(patch: pytest.MonkeyPatch) -> None:
    async def hopeful(*arguments: object) -> bool:
        return True

    patch.setattr(customers, "is_effective", hopeful)


def _ends_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sim_store, "held_to", lambda *arguments: {})


# --- metering ---------------------------------------------------------------------------------------------------------


def _counted_from_zero(patch: pytest.MonkeyPatch) -> None:
    """A copy's first reading is counted whole."""
    patch.setattr(
        sim_store,
        "count",
        lambda reading, counted, today, **named: usage.count(reading, counted, today, copied=False),
    )


def _first_reading_is_a_base(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sim_store, "compared_with", lambda *arguments: None)


# --- the control plane's own restore ----------------------------------------------------------------------------------


def _epochs_not_looked_for(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sim_store, "found_epochs", lambda *arguments, **named: [])


def _same_incarnation(patch: pytest.MonkeyPatch) -> None:
    from tests.simulation.misfortunes import Misfortunes

    patch.setattr(Misfortunes, "_incarnation", lambda self: 1)


MUTATIONS: dict[str, Mutation] = {
    "an instance is routed to before it has its keys": _without("_serve", PushState),
    "an idle instance is stopped without its backup confirmed": _without("stop", Confirm),
    "a nap does not take the instance out of routing": _without("_nap", Unlink),
    "a ready instance is not routed to": _without("_serve", Link),
    "nothing ends an instance of another epoch": _no_fence,
    "a restored database continues the old epoch": _no_new_epoch_after_a_restore,
    "an older backup is taken silently": _older_backup_when_the_newest_is_unreadable,
    "a stop is believed": _stop_believed,
    "the database is exchanged while it is being copied": _registered_while_exchanged,
    "a stranger wakes a tenant": _strangers_let_in,
    "the activator lets expired keys in": _expired_let_in,
    "the activator ends a nap without the newest keys, and whatever else is not routed to": _nap_without_keys,
    "the activator passes calls on to what is not routed to": _forwarded_unrouted,
    "a change of a key is called effective at once": _effective_at_once,
    "the ends of keys are not looked for when the plane comes back": _ends_forgotten,
    "what a copied database brings along is counted again": _counted_from_zero,
    "what was done since the last reading is a base": _first_reading_is_a_base,
    "the plane comes back without the epochs that began since": _epochs_not_looked_for,
    "the plane comes back in the same incarnation": _same_incarnation,
}

FOUND_SOON = {
    "an instance is routed to before it has its keys",
    "a nap does not take the instance out of routing",
    "a restored database continues the old epoch",
    "a stop is believed",
    "the database is exchanged while it is being copied",
    "a stranger wakes a tenant",
    "a change of a key is called effective at once",
    "what was done since the last reading is a base",
    "the plane comes back in the same incarnation",
}
"""Within a few histories; the others take seconds, and are looked for where there is time."""

LONG: dict[str, tuple[range, int]] = {
    "an older backup is taken silently": (range(0, 1200, 6), 4_000),
    "the plane comes back in the same incarnation": (range(1, 1200, 6), 500),
}
"""Seeds and steps of histories for what seldom comes together: an epoch, calls in it, its backup lost, then its folder; and for what
only shows where planes are lost."""
