"""Which backup a restore takes, and when it leaves the decision to the operator."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from control_plane.domain.tenants import Epoch, RestoreRequest, Tenant
from control_plane.reconcile import actions as act
from control_plane.reconcile.ports import Backups, RestoreOutcome, RestoreResult, Store, Volumes
from control_plane.reconcile.restore_plan import candidates
from control_plane.reconcile.restoring import Restoring
from tests.reconcile.pictures import epoch, tenant


class Shelf:
    """Backups, store and volumes of one tenant, as far as a restore asks them: what each epoch's backup brings."""

    def __init__(self, lives: list[Epoch], backups: dict[int, RestoreResult]) -> None:
        self.lives = lives
        self.backups = backups
        self.staged_from: int | None = None
        self.begun = False

    async def epochs(self, slug: str) -> list[Epoch]:
        return self.lives

    async def restore(self, slug: str, n: int, into: Path, *, at: str | None = None) -> RestoreResult:
        return self.backups.get(n, RestoreResult(RestoreOutcome.NOTHING))

    async def staging_file(self, slug: str) -> Path:
        return Path("/nowhere")

    async def staged(self, slug: str, request: float, n: int | None) -> None:
        self.staged_from = n

    async def event(self, *_: Any, **__: Any) -> None: ...

    async def restore_done(self, *_: Any) -> None: ...

    async def new_epoch(self, slug: str, parent: int | None) -> Epoch:
        self.begun = True
        return epoch(9)

    async def prepare(self, slug: str, n: int) -> None: ...


async def stage(shelf: Shelf, request: RestoreRequest | None = None) -> str:
    """Restore onto an empty volume, or as asked; why not, else ""."""
    whose: Tenant = tenant(restore=request)
    restoring = Restoring(cast(Store, shelf), cast(Backups, shelf), cast(Volumes, shelf))
    asked = request.requested_at if request else 0.0
    at = request.at if request else None
    return await restoring.stage(whose, act.StageRestore(asked, candidates(shelf.lives, request), at=at))


def brings(txid: int) -> RestoreResult:
    return RestoreResult(RestoreOutcome.RESTORED, txid)


UNREADABLE = RestoreResult(RestoreOutcome.UNREADABLE)


async def test_the_newest_backup_is_taken_when_it_holds_all_that_was_confirmed() -> None:
    shelf = Shelf([epoch(1, 5), epoch(2, 7)], {1: brings(5), 2: brings(8)})
    assert (await stage(shelf), shelf.staged_from) == ("", 2)


async def test_a_backup_that_lost_confirmed_transactions_is_no_newest_backup() -> None:
    shelf = Shelf([epoch(1, 5), epoch(2, 7)], {1: brings(5), 2: brings(6)})
    assert await stage(shelf) == "epoch 2: its backup ends at 6, 7 was confirmed"
    assert shelf.staged_from is None


async def test_the_operator_takes_what_there_is_by_naming_the_epoch() -> None:
    shelf = Shelf([epoch(1, 5), epoch(2, 7)], {2: brings(6)})
    assert (await stage(shelf, RestoreRequest(epoch=2, requested_at=9.0)), shelf.staged_from) == ("", 2)


async def test_a_point_in_time_holds_less_than_what_was_confirmed_later() -> None:
    at = "1970-01-02T03:46:00Z"  # after both epochs of the picture began
    shelf = Shelf([epoch(1, 5), epoch(2, 7)], {2: brings(3)})
    assert (await stage(shelf, RestoreRequest(at=at, requested_at=9.0)), shelf.staged_from) == ("", 2)


@pytest.mark.parametrize("found", [UNREADABLE, RestoreResult(RestoreOutcome.NOTHING)])
async def test_a_confirmed_life_that_does_not_restore_is_never_passed_over(found: RestoreResult) -> None:
    shelf = Shelf([epoch(1, 5), epoch(2, 7)], {1: brings(5), 2: found})
    assert (await stage(shelf)).startswith("epoch 2")
    assert shelf.staged_from is None


async def test_a_life_of_which_nothing_was_confirmed_and_that_has_no_backup_may_be() -> None:
    shelf = Shelf([epoch(1, 5), epoch(2, None)], {1: brings(5)})
    assert (await stage(shelf), shelf.staged_from) == ("", 1)


@pytest.mark.parametrize("lives", [[epoch(1, None)], [epoch(1, 5), epoch(2, None)]])
async def test_a_backup_that_is_there_and_cannot_be_read_is_never_passed_over(lives: list[Epoch]) -> None:
    last = lives[-1].n
    shelf = Shelf(lives, {1: brings(5)} | {last: UNREADABLE})
    assert (await stage(shelf)).startswith(f"epoch {last}")
    assert (shelf.staged_from, shelf.begun) == (None, False)


async def test_lives_whose_backups_expired_with_a_purge_are_not_missed() -> None:
    shelf = Shelf([epoch(1, 5, expired_at=1.0)], {})
    assert (await stage(shelf), shelf.begun) == ("", True)
