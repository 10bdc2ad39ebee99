"""What is decided in each situation: the list of actions, in order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.domain.tenants import Desired, Generation, RestoreRequest, Status, Tenant
from control_plane.reconcile.actions import Action, Candidate, StageRestore, Start, Stop, VerifyBackup
from control_plane.reconcile.plan import decide, plan
from control_plane.reconcile.ports import Activity, Probe, VolumeState
from control_plane.reconcile.restore_plan import candidates
from control_plane.reconcile.seen import Seen
from control_plane.runtimes.protocol import RunState
from tests.reconcile.pictures import GENERATION, NOW, POLICY, epoch, gone, idle, instance, paused, seen, tenant

EMPTY = VolumeState()


def steps(who: Tenant, what: Seen) -> list[str]:
    return [type(each).__name__ for each in plan(who, what, NOW, POLICY)]


def actions(who: Tenant, what: Seen) -> list[Action]:
    return plan(who, what, NOW, POLICY)


def test_nothing_is_done_about_a_tenant_that_is_as_it_should_be() -> None:
    assert actions(tenant(), seen()) == []


# --- starts -------------------------------------------------------------------------------------------------------------


def test_a_new_tenant_begins_its_first_epoch() -> None:
    new = tenant(epoch=0, last_request_at=None, created_at=NOW, status=Status.PROVISIONING)
    assert steps(new, gone(volume=EMPTY, epochs=())) == ["BeginLife"]


def test_a_first_start_may_make_the_database() -> None:
    prepared = VolumeState(epoch=1)
    found = actions(tenant(epoch=1), gone(volume=prepared, epochs=(epoch(1, None),)))
    assert found[0] == Start(1, fresh=True)


def test_a_removed_container_comes_back_on_its_own_epoch() -> None:
    assert actions(tenant(), gone())[0] == Start(2, fresh=False)


def test_an_instance_that_is_ready_is_backed_up_and_told_its_state_before_it_is_routed_to() -> None:
    started = seen(linked=None, registered=None, probe=Probe(True, False, None, 2))
    assert steps(tenant(), started) == ["Register", "PushState", "CollectUsage", "Link"]


def test_an_instance_that_is_not_ready_yet_is_waited_for() -> None:
    assert steps(tenant(), seen(linked=None, probe=None, activity=None)) == ["AwaitAnswer"]


def test_an_instance_that_does_not_get_ready_is_ended() -> None:
    late = seen(linked=None, probe=None, activity=None, unready_s=POLICY.start_s)
    assert steps(tenant(), late) == ["Stop"]


def test_after_a_start_that_took_too_long_the_next_one_may_take_longer() -> None:
    """A machine with too much to do would never get anything started otherwise."""
    late = seen(linked=None, probe=None, activity=None, unready_s=POLICY.start_s, failures=1)
    assert steps(tenant(), late) == ["AwaitAnswer"]
    assert steps(tenant(), replace(late, unready_s=2 * POLICY.start_s)) == ["Stop"]
    assert steps(tenant(), replace(late, unready_s=4 * POLICY.start_s, failures=1_000)) == ["Stop"]


def test_without_litestream_an_instance_serves_all_the_same() -> None:
    started = seen(linked=None, registered=None, backups_up=False)
    assert steps(tenant(), started) == ["CollectUsage", "Link"]


def test_changed_keys_are_pushed_to_an_instance_that_serves() -> None:
    assert steps(tenant(generation=Generation(1, 4)), seen()) == ["PushState"]


def test_a_stale_link_is_taken_away_before_anything_else() -> None:
    assert steps(tenant(), seen(linked=False))[0] == "Unlink"


def test_a_restart_that_was_asked_for_drains_first() -> None:
    found = steps(tenant(), seen(revision="another"))
    assert found == ["Unlink", "Drain", "CollectUsage", "Confirm", "Stop"]


# --- sleeping -----------------------------------------------------------------------------------------------------------


def test_an_idle_instance_is_unrouted_drained_and_frozen() -> None:
    assert steps(tenant(last_request_at=NOW - 400), seen(**idle(400))) == ["Unlink", "Drain", "CollectUsage", "Freeze"]


def test_a_call_in_flight_keeps_an_instance_awake() -> None:
    busy = seen(activity=Activity(1, 4_000.0, NOW - 4_000))
    assert actions(tenant(last_request_at=NOW - 4_000), busy) == []


def test_an_instance_that_does_not_say_how_busy_it_is_is_not_put_to_sleep() -> None:
    assert actions(tenant(last_request_at=NOW - 4_000), seen(activity=None)) == []


def test_a_clock_set_forward_puts_nobody_to_sleep_who_was_just_called() -> None:
    found = plan(tenant(), seen(), NOW + 86_400, POLICY)
    assert [type(each).__name__ for each in found] == ["Confirm"]


def test_an_instance_idle_for_long_is_stopped_after_its_backup_was_confirmed() -> None:
    found = steps(tenant(last_request_at=NOW - 4_000), seen(**idle(4_000)))
    assert found == ["Unlink", "Drain", "CollectUsage", "Confirm", "Stop"]


def test_a_napping_instance_is_thawed_to_be_stopped() -> None:
    found = steps(tenant(last_request_at=NOW - 4_000), paused())
    assert found == ["Thaw", "AwaitAnswer", "Drain", "CollectUsage", "Confirm", "Stop"]


def test_without_litestream_an_idle_instance_only_naps() -> None:
    found = steps(tenant(last_request_at=NOW - 4_000), seen(**idle(4_000), backups_up=False, registered=None))
    assert found == ["Unlink", "Drain", "CollectUsage", "Freeze"]


def test_what_a_stopped_instance_wrote_last_is_confirmed_and_its_registration_ended() -> None:
    ended = seen(instance=instance(RunState.EXITED), linked=None, probe=None, activity=None)
    assert steps(tenant(desired=Desired.ASLEEP), ended) == ["Confirm", "Unregister", "Remove"]


def test_a_nap_ends_at_a_wake() -> None:
    called = tenant(last_request_at=NOW - 400, wake_requested_at=NOW)
    assert steps(called, paused()) == ["Thaw", "AwaitAnswer"]


def test_after_a_nap_the_newest_keys_are_pushed_before_calls_are_let_in() -> None:
    thawed = seen(linked=None, probe=Probe(False, True, Generation(1, 2), 2))
    assert steps(tenant(wake_requested_at=NOW), thawed) == ["PushState", "Undrain", "Link"]


def test_keys_changed_during_a_nap_reach_the_instance_without_routing_to_it() -> None:
    changed = tenant(last_request_at=NOW - 400, generation=Generation(1, 4))
    assert steps(changed, paused()) == ["Thaw", "AwaitAnswer", "PushState", "Drain", "Freeze"]


def test_asleep_by_wish_stays_asleep() -> None:
    assert actions(tenant(desired=Desired.ASLEEP), gone()) == []


@pytest.mark.parametrize("desired", [Desired.SUSPENDED, Desired.DELETED])
def test_one_that_must_not_run_is_stopped_even_if_its_backup_cannot_be_confirmed(desired: Desired) -> None:
    found = steps(tenant(desired=desired), seen(backups_up=False, registered=None))
    assert found == ["Unlink", "Drain", "CollectUsage", "Stop"]


# --- fences -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"instance": instance(epoch=1)},
        {"probe": Probe(True, False, GENERATION, 1)},
        {"volume": EMPTY},
        {"volume": VolumeState(database=True, epoch=1)},
        {"volume": VolumeState(database=False, epoch=2)},
    ],
)
def test_an_instance_that_must_not_write_is_unrouted_and_ended(changes: dict[str, Any]) -> None:
    assert steps(tenant(), seen(**changes)) == ["Unlink", "Stop"]


# --- restores -----------------------------------------------------------------------------------------------------------


def test_an_empty_volume_is_restored_from_the_newest_epoch_of_its_line() -> None:
    found = actions(tenant(), gone(volume=EMPTY, epochs=(epoch(1), epoch(2, None))))
    assert found == [StageRestore(0.0, (Candidate(2, False), Candidate(1, True, 7)))]


def test_a_restored_database_begins_a_new_epoch() -> None:
    staged = VolumeState(staged=0.0, staged_epoch=2)
    assert steps(tenant(), gone(volume=staged)) == ["BeginRestoredLife"]


def test_nothing_is_put_on_a_volume_that_may_still_be_copied() -> None:
    assert actions(tenant(), gone(volume=EMPTY, backups_up=False)) == []
    assert steps(tenant(), gone(volume=EMPTY, registered=2)) == ["Unregister"]


def test_a_database_of_another_epoch_begins_a_new_one() -> None:
    assert steps(tenant(), gone(volume=VolumeState(database=True, epoch=1))) == ["BeginLife"]


def test_an_unreadable_backup_waits_for_the_operator() -> None:
    failed = tenant(failure="backup_unreadable", status=Status.FAILED, since=NOW - 5)
    assert actions(failed, gone(volume=EMPTY)) == []
    assert steps(replace(failed, wake_requested_at=NOW), gone(volume=EMPTY)) == ["StageRestore"]


REQUEST = RestoreRequest(at="1970-01-02T03:00:00Z", requested_at=NOW - 1)


def test_a_restore_on_request_is_staged_while_the_tenant_serves() -> None:
    assert steps(tenant(restore=REQUEST), seen()) == ["Confirm", "StageRestore"]


def test_a_staged_restore_takes_the_tenant_out_of_service() -> None:
    staged = VolumeState(database=True, epoch=2, replicated=True, staged=NOW - 1, staged_epoch=1)
    found = steps(tenant(restore=REQUEST), seen(volume=staged))
    assert found == ["Unlink", "Drain", "CollectUsage", "Confirm", "Stop"]
    assert steps(tenant(restore=REQUEST), gone(volume=staged)) == ["BeginRestoredLife"]


def test_a_restored_database_is_judged_before_it_is_routed_to() -> None:
    placed = VolumeState(database=True, epoch=2, restored_for=NOW - 1, aside=1)
    found = steps(tenant(restore=REQUEST), seen(volume=placed, linked=None, registered=None))
    assert found == ["Register", "JudgeRestore"]


def test_a_rejected_restore_is_reported_and_the_database_from_before_put_back() -> None:
    rejected = VolumeState(database=True, epoch=2, restored_for=NOW - 1, rejected=True, aside=1)
    assert steps(tenant(restore=REQUEST), seen(volume=rejected)) == ["Unlink", "Stop"]
    assert steps(tenant(restore=REQUEST), gone(volume=rejected)) == ["ReportRejected"]
    assert steps(tenant(), gone(volume=rejected)) == ["PutBack"]


IMPORT = RestoreRequest(requested_at=NOW - 1, imported=True)


def test_an_imported_database_goes_the_way_of_a_restored_one() -> None:
    staged = VolumeState(staged=NOW - 1)
    assert steps(tenant(restore=IMPORT, epoch=0), gone(volume=staged, epochs=())) == ["BeginRestoredLife"]
    placed = VolumeState(database=True, epoch=2, restored_for=NOW - 1)
    found = steps(tenant(restore=IMPORT), seen(volume=placed, linked=None, registered=None))
    assert found == ["Register", "JudgeRestore"]


def test_an_import_that_did_not_verify_has_nothing_to_go_back_to() -> None:
    rejected = VolumeState(database=True, epoch=2, restored_for=NOW - 1, rejected=True)
    assert steps(tenant(restore=IMPORT), seen(volume=rejected)) == ["Unlink", "Stop"]
    assert actions(tenant(restore=IMPORT), gone(volume=rejected)) == [StageRestore(NOW - 1, (), "", None)]
    failed = tenant(restore=IMPORT, failure="backup_unreadable", status=Status.FAILED, since=NOW)
    assert actions(failed, gone(volume=rejected)) == []


def test_a_point_in_time_is_looked_for_in_the_epoch_of_that_time() -> None:
    epochs = (epoch(1, started_at=100.0), epoch(2, started_at=200.0), epoch(3, started_at=300.0))
    asked = RestoreRequest(at="1970-01-01T00:04:10Z")
    assert [each.epoch for each in candidates(epochs, asked)] == [2, 1]


def test_a_life_that_was_given_up_is_no_part_of_the_newest_backups() -> None:
    epochs = (epoch(1), epoch(2, parent=1), epoch(3, parent=1))
    assert [each.epoch for each in candidates(epochs, None)] == [3, 1]


# --- backups ------------------------------------------------------------------------------------------------------------


def test_a_lost_registration_is_made_again() -> None:
    assert steps(tenant(), seen(registered=None)) == ["Register"]


def test_a_registration_for_another_epoch_is_ended_first() -> None:
    assert steps(tenant(), seen(registered=1)) == ["Unregister", "Register"]


def test_a_backup_is_confirmed_now_and_then_while_there_are_calls() -> None:
    old = epoch(2, confirmed_at=NOW - 60)
    assert steps(tenant(), seen(epochs=(epoch(1), old))) == ["Confirm"]


def test_a_backup_that_was_never_verified_is_verified_in_the_background() -> None:
    found = decide(tenant(), seen(epochs=(epoch(1), epoch(2, verified_at=None))), NOW, POLICY)
    assert [type(each).__name__ for each in found.background] == ["VerifyBackup"]
    assert found.actions == ()


def test_a_backup_that_did_not_change_is_verified_again_only_now_and_then() -> None:
    days = 86_400.0
    kept = epoch(2, verified_at=NOW - 5 * days, confirmed_at=NOW - 6 * days)
    assert decide(tenant(), seen(epochs=(epoch(1), kept)), NOW, POLICY).background == ()
    assert decide(tenant(), seen(epochs=(epoch(1), kept)), NOW + 3 * days, POLICY).background == (VerifyBackup(2),)


def test_a_backup_that_did_not_verify_is_tried_as_often_as_one_that_changed() -> None:
    kept = epoch(2, verified_at=NOW - 2 * 86_400, confirmed_at=NOW - 6 * 86_400, broken_at=NOW - 86_400)
    assert decide(tenant(), seen(epochs=(epoch(1), kept)), NOW, POLICY).background == (VerifyBackup(2),)


def test_a_backup_that_is_not_kept_any_more_is_no_candidate() -> None:
    lost = gone(volume=VolumeState(), registered=None, epochs=(epoch(1, expired_at=NOW - 1), epoch(2)))
    assert decide(tenant(), lost, NOW, POLICY).actions[-1] == StageRestore(0.0, (Candidate(2, confirmed=True, txid=7),))
    gone_too = gone(volume=VolumeState(), registered=None, epochs=(epoch(1, expired_at=NOW), epoch(2, expired_at=NOW)))
    assert decide(tenant(), gone_too, NOW, POLICY).actions[-1] == StageRestore(0.0, ())


# --- whatever is seen ---------------------------------------------------------------------------------------------------

VOLUMES = st.builds(
    VolumeState,
    database=st.booleans(),
    epoch=st.sampled_from([None, 1, 2, 3]),
    replicated=st.booleans(),
    staged=st.sampled_from([None, 0.0, NOW - 1]),
    staged_epoch=st.sampled_from([None, 1, 2]),
    restored_for=st.sampled_from([None, 0.0, NOW - 1]),
    rejected=st.booleans(),
    aside=st.sampled_from([None, 0, 1]),
)
SIGHTS = st.builds(
    seen,
    instance=st.none() | st.builds(instance, st.sampled_from(list(RunState)), epoch=st.sampled_from([1, 2])),
    linked=st.sampled_from([None, False, True]),
    probe=st.none() | st.builds(Probe, st.booleans(), st.booleans(), st.sampled_from([None, GENERATION]), st.just(2)),
    activity=st.none() | st.builds(Activity, st.integers(0, 1), st.sampled_from([0.0, 400.0, 4_000.0])),
    volume=VOLUMES,
    registered=st.sampled_from([None, 1, 2]),
    backups_up=st.booleans(),
    unready_s=st.sampled_from([0.0, 1_000.0]),
    epochs=st.sampled_from([(), (epoch(1),), (epoch(1), epoch(2)), (epoch(1), epoch(2, None))]),
)
TENANTS = st.builds(
    tenant,
    desired=st.sampled_from(list(Desired)),
    epoch=st.sampled_from([0, 1, 2]),
    restore=st.sampled_from([None, REQUEST]),
    failure=st.sampled_from(["", "backup_unreadable", "instance_does_not_start"]),
    last_request_at=st.sampled_from([None, NOW, NOW - 400, NOW - 4_000]),
    delete_after=st.sampled_from([None, NOW - 1, NOW + 1]),
)


@settings(max_examples=300, deadline=None)
@given(TENANTS, SIGHTS)
def test_something_is_decided_whatever_is_seen(who: Tenant, what: Seen) -> None:
    found = actions(who, what)
    names = [type(each).__name__ for each in found]
    if "Link" in names:
        assert what.probe is not None and (what.probe.ready or what.probe.draining)
        assert what.probe.generation == who.generation or "PushState" in names[: names.index("Link")]
        assert who.desired in (Desired.RUNNING, Desired.ASLEEP)
    if "Start" in names:
        assert not what.alive and what.volume.epoch == who.epoch
    exchanges = {"BeginLife", "BeginRestoredLife", "PutBack"} & set(names)
    if exchanges:
        assert not what.alive and what.registered is None and what.backups_up
    stops = [each for each in found if isinstance(each, Stop)]
    if stops and what.linked is not None:
        assert names[0] == "Unlink"
