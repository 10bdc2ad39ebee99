"""What people are told: a status that was observed, and the next action in plain words."""

from __future__ import annotations

import pytest

from control_plane.domain.tenants import Desired, Status, Tenant
from control_plane.reconcile.plan import decide
from control_plane.reconcile.ports import VolumeState
from control_plane.reconcile.seen import Seen
from control_plane.reconcile.status import next_action, status_of
from tests.reconcile.pictures import NOW, POLICY, gone, idle, paused, seen, tenant


def told(who: Tenant, what: Seen, trouble: str = "") -> tuple[Status, str]:
    decision = decide(who, what, NOW, POLICY)
    return status_of(who, what, decision.depth), next_action(who, what, decision, trouble)


@pytest.mark.parametrize(
    ("who", "what", "status"),
    [
        (tenant(), seen(), Status.RUNNING),
        (tenant(last_request_at=NOW - 400), paused(), Status.NAPPING),
        (tenant(last_request_at=NOW - 4_000), gone(), Status.ASLEEP),
        (tenant(desired=Desired.SUSPENDED), gone(), Status.SUSPENDED),
        (tenant(desired=Desired.DELETED), gone(), Status.DELETED),
        (tenant(), gone(), Status.PROVISIONING),
        (tenant(status=Status.ASLEEP, wake_requested_at=NOW), gone(), Status.ASLEEP),
        (tenant(status=Status.NAPPING, wake_requested_at=NOW), paused(), Status.NAPPING),
        (tenant(failure="instance_does_not_start"), gone(), Status.FAILED),
        (tenant(failure="instance_does_not_start"), seen(), Status.RUNNING),
        (tenant(desired=Desired.SUSPENDED), seen(linked=None), Status.RUNNING),
        (tenant(last_request_at=NOW - 400), seen(linked=None, **idle(400)), Status.RUNNING),
    ],
)
def test_the_status_is_what_was_observed(who: Tenant, what: Seen, status: Status) -> None:
    assert told(who, what)[0] is status


@pytest.mark.parametrize(
    ("who", "what", "words"),
    [
        (tenant(), seen(), "naps after 300 s without a call"),
        (tenant(last_request_at=NOW - 400), paused(), "wakes at the next call; sleeps after 3600 s without one"),
        (tenant(last_request_at=NOW - 4_000), gone(), "wakes at the next call"),
        (tenant(desired=Desired.SUSPENDED), gone(), "stays stopped until it is resumed"),
        (tenant(), gone(), "start the instance, then wait until it is ready"),
        (
            tenant(failure="backup_unreadable", since=NOW),
            gone(volume=VolumeState()),
            "waits for the operator: its backup cannot be read; wake it to try again, or restore another epoch or time",
        ),
    ],
)
def test_the_next_action_is_said_in_plain_words(who: Tenant, what: Seen, words: str) -> None:
    assert told(who, what)[1] == words


def test_what_stands_in_the_way_is_said() -> None:
    words = told(tenant(), gone(), "start the instance: no memory")[1]
    assert words.endswith("(again, after: start the instance: no memory)")
