"""The end of a tenant: nothing of it is removed before its last backup was seen to restore, unless by force."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.domain.tenants import Desired, RestoreRequest, Tenant
from control_plane.reconcile.plan import decide, plan
from control_plane.reconcile.ports import VolumeState
from control_plane.reconcile.seen import Seen
from control_plane.reconcile.status import next_action
from tests.reconcile.pictures import NOW, POLICY, epoch, gone, tenant

EMPTY = VolumeState()
CLOSED = (epoch(1), epoch(2, closed_at=NOW))


def deleted(**changes: Any) -> Tenant:
    """Its grace is over."""
    return tenant(**({"desired": Desired.DELETED, "delete_after": NOW - 1} | changes))


def steps(who: Tenant, what: Seen) -> list[str]:
    return [type(each).__name__ for each in plan(who, what, NOW, POLICY)]


@pytest.mark.parametrize("delete_after", [NOW + 100, NOW - 1])
def test_a_deleted_tenant_gets_a_last_verified_backup_first(delete_after: float) -> None:
    found = steps(deleted(delete_after=delete_after), gone())
    assert found == ["Register", "Confirm", "Unregister", "VerifyBackup", "CloseEpoch"]


def test_after_its_grace_a_tenant_whose_last_backup_was_verified_is_purged() -> None:
    assert steps(deleted(), gone(epochs=CLOSED)) == ["Purge"]
    assert steps(deleted(delete_after=NOW + 1), gone(epochs=CLOSED)) == []


def test_one_that_never_had_anything_is_purged_after_its_grace() -> None:
    assert steps(deleted(epoch=0), gone(volume=EMPTY, epochs=())) == ["Purge"]
    never_written = (epoch(2, None, parent=None),)
    assert steps(deleted(), gone(volume=EMPTY, epochs=never_written)) == ["CloseEpoch"]
    assert steps(deleted(), gone(volume=EMPTY, epochs=(epoch(2, None, parent=None, closed_at=NOW),))) == ["Purge"]


def test_an_import_that_never_became_whole_is_removed_without_a_backup_of_it() -> None:
    imported = RestoreRequest(requested_at=NOW - 50, imported=True)
    broken = (epoch(2, parent=None, broken_at=NOW - 60),)
    assert steps(deleted(restore=imported), gone(epochs=broken)) == ["Purge"]
    assert steps(deleted(restore=imported, delete_after=NOW + 1), gone(epochs=broken)) == []


def test_where_the_data_folder_is_lost_the_newest_backup_is_verified_instead() -> None:
    lost = gone(volume=EMPTY, epochs=(epoch(1, verified_at=None), epoch(2, None)))
    assert steps(deleted(), lost) == ["VerifyBackup", "CloseEpoch"]


def test_a_closed_epoch_that_was_never_verified_is_verified_before_the_purge() -> None:
    unproven = (epoch(1), epoch(2, verified_at=None, closed_at=NOW))
    assert steps(deleted(), gone(epochs=unproven)) == ["VerifyBackup"]


def test_a_last_backup_that_does_not_verify_holds_the_purge_and_is_told() -> None:
    broken = gone(epochs=(epoch(1), epoch(2, broken_at=NOW - 60)))
    decision = decide(deleted(), broken, NOW, POLICY)
    assert decision.actions == ()
    assert "is not removed: its last backup did not verify" in next_action(deleted(), broken, decision, "")


def test_it_is_verified_again_now_and_then() -> None:
    broken = gone(epochs=(epoch(1), epoch(2, broken_at=NOW - POLICY.verify_again_s)))
    assert "VerifyBackup" in steps(deleted(), broken)


def test_backups_that_cannot_be_reached_hold_the_purge() -> None:
    assert steps(deleted(), gone(backups_up=False)) == []


def test_a_purge_that_began_or_was_forced_is_finished_whatever_its_backups_are() -> None:
    broken = gone(epochs=(epoch(1), epoch(2, broken_at=NOW - 60)), backups_up=False)
    assert steps(deleted(purge_began_at=NOW - 5), broken) == ["Purge"]


def test_a_tenant_brought_back_within_its_grace_begins_a_new_epoch() -> None:
    assert steps(tenant(), gone(epochs=CLOSED)) == ["BeginLife"]
