"""Histories by seed, and mistakes planted on purpose: a simulation that finds none of these finds nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from control_plane.reconcile import plan
from control_plane.reconcile.actions import (
    Action,
    BeginRestoredLife,
    Candidate,
    Confirm,
    Drain,
    Link,
    PushState,
    Unlink,
)
from tests.simulation.history import History

SEEDS = 200
SEEDS_TO_FIND = 200
SHORT_S = 4.0


def test_no_history_breaks_an_invariant() -> None:
    for seed in range(SEEDS):
        outcome = History(seed, SHORT_S, bad_disks=seed % 8 == 0).run()
        assert not outcome.violation, f"seed {seed}: {outcome.violation}"


def test_a_seed_is_one_history() -> None:
    assert History(7).run() == History(7).run()


@pytest.mark.parametrize("step", range(1, 61, 2))
def test_a_control_plane_killed_at_any_step_of_a_first_start_is_healed(step: int) -> None:
    outcome = History(3, 2.0, kill_at=step).run()
    assert not outcome.violation
    assert outcome.lives >= 2


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
    from control_plane.reconcile.restoring import Restoring

    real = Restoring.carry_out

    async def same_epoch(self: Restoring, action: Action, tenant: object) -> None:
        if isinstance(action, BeginRestoredLife):
            await self._volumes.activate(tenant.slug, tenant.epoch)  # type: ignore[attr-defined]
        else:
            await real(self, action, tenant)  # type: ignore[arg-type]

    patch.setattr(Restoring, "carry_out", same_epoch)


def _older_backup_when_the_newest_is_unreadable(patch: pytest.MonkeyPatch) -> None:
    from control_plane.reconcile.restore_plan import candidates as real

    def unconfirmed(epochs: object, request: object) -> object:
        return tuple(Candidate(each.epoch, confirmed=False) for each in real(epochs, request))  # type: ignore[arg-type]

    patch.setattr(plan, "candidates", unconfirmed)


def _stop_believed(patch: pytest.MonkeyPatch) -> None:
    from control_plane.domain.tenants import Status
    from control_plane.reconcile import rounds
    from control_plane.reconcile.depth import Depth
    from control_plane.reconcile.status import status_of as real

    def hopeful(tenant: object, seen: object, depth: Depth) -> Status:
        return Status.ASLEEP if depth is Depth.SLEEP else real(tenant, seen, depth)  # type: ignore[arg-type]

    patch.setattr(rounds, "status_of", hopeful)


def _registered_while_exchanged(patch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from control_plane.reconcile.restore_plan import restore_request as real

    patch.setattr(
        plan, "restore_request", lambda tenant, seen, depth: real(tenant, replace(seen, registered=None), depth)
    )


MUTATIONS: dict[str, Mutation] = {
    "an instance is routed to before it has its keys": _without("_serve", PushState),
    "an idle instance is stopped without its backup confirmed": _without("stop", Confirm),
    "a nap does not take the instance out of routing": _without("_nap", Unlink),
    "a nap does not drain": _without("_nap", Drain),
    "a ready instance is not routed to": _without("_serve", Link),
    "nothing ends an instance of another epoch": _no_fence,
    "a restored database continues the old epoch": _no_new_epoch_after_a_restore,
    "an older backup is taken silently": _older_backup_when_the_newest_is_unreadable,
    "a stop is believed": _stop_believed,
    "the database is exchanged while it is being copied": _registered_while_exchanged,
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_planted_mistake_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTATIONS[name](monkeypatch)
    histories = (History(seed, bad_disks=seed % 4 == 0) for seed in range(SEEDS_TO_FIND))
    assert any(history.run().violation for history in histories), f"not found: {name}"
