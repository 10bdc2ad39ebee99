"""The faults by name: what each does, whom it may touch, and which runtimes know it.

A fault returns when its own doing is over: what it killed is dead, and a shared part that it took away is back.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos.callers import call_once
from tests.chaos.disturbances import OK, Loss, Touches
from tests.chaos.world import World
from tests.cloud.service import docker, until

AWAY_S = 4.0
SLEEP_DEADLINE_S = 45.0
BACK_DEADLINE_S = 60.0
RESTORE_DEADLINE_S = 120.0
AMPLE_PLAN, SMALL_PLAN = "ample", "small"
FILLED_BY_AT_MOST = 20_000  # calls
RENAME_EXCHANGE = 2
AT_FDCWD = -100


@dataclass(frozen=True, slots=True)
class Fault:
    touches: Touches
    do: Callable[[World, str], None]  # the tenant is "" unless the fault has a victim
    runtimes: tuple[str, ...] = ("process", "docker")

    @property
    def has_victim(self) -> bool:
        return self.touches in (Touches.VICTIM, Touches.HELD)


# --- one tenant's instance --------------------------------------------------------------------------------------------


def kill_process(world: World, slug: str) -> None:
    world.insist(lambda: os.kill(world.service.instance_pid(slug), signal.SIGKILL), f"kill {slug}")


def docker_kill(world: World, slug: str) -> None:
    world.insist(lambda: docker("kill", _container(world, slug)), f"kill the container of {slug}")


def docker_remove(world: World, slug: str) -> None:
    world.insist(lambda: docker("rm", "-f", _container(world, slug)), f"remove the container of {slug}")


def pause_by_hand(world: World, slug: str) -> None:
    if world.service.runtime == "docker":
        world.insist(lambda: docker("pause", _container(world, slug)), f"pause the container of {slug}")
    else:
        world.insist(lambda: os.killpg(world.service.instance_pid(slug), signal.SIGSTOP), f"stop {slug}")


def unlink_route(world: World, slug: str) -> None:
    (world.service.data / "run" / "edge" / f"{slug}.sock").unlink(missing_ok=True)


def sleep_under_calls(world: World, slug: str) -> None:
    """Over when it has left the state that it was in; the next call wakes it again."""
    before = _tenant(world, slug)["since"]
    world.ask("POST", f"/api/tenants/{slug}/sleep")
    until(lambda: _tenant(world, slug)["since"] != before, f"{slug} is put to sleep", SLEEP_DEADLINE_S)


def sleep_and_wake(world: World, slug: str) -> None:
    caller = world.callers[slug]
    caller.hush()
    try:
        world.ask("POST", f"/api/tenants/{slug}/sleep")
        _until_status(world, slug, "asleep", SLEEP_DEADLINE_S)
    finally:
        caller.go_on()


# --- one tenant's data ------------------------------------------------------------------------------------------------


def delete_data_folder(world: World, slug: str) -> None:
    """Nothing that was in the traces before the last confirmed sync may be missing afterwards."""
    with _loses(world, slug):
        epoch = _tenant(world, slug)["epoch"]
        volume = world.tenant(slug).volume
        aside = world.service.data / f"lost-{slug}-{time.monotonic_ns()}"
        volume.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)  # its instance still makes and removes files in it
        _until_new_life(world, slug, epoch)


def restore_to_a_time(world: World, slug: str) -> None:
    """As above for the time that is asked for; what came after it is gone by intention."""
    with _loses(world, slug):
        epoch = _tenant(world, slug)["epoch"]
        at = datetime.now(UTC).isoformat()
        until(lambda: datetime.now(UTC).isoformat() > at, "time passes")
        world.ask("POST", f"/api/tenants/{slug}/restore", json={"at": at})
        _until_new_life(world, slug, epoch)


def fill_to_the_limit(world: World, slug: str) -> None:
    """At its plan's size it refuses calls by the documented code; with a larger plan it takes them again."""
    world.ask("PUT", f"/api/tenants/{slug}", json={"plan": SMALL_PLAN})
    client = world.tenant(slug).openai()
    refused = False
    end = time.monotonic() + RESTORE_DEADLINE_S
    for _ in range(FILLED_BY_AT_MOST):
        code, _trace_id = call_once(client, f"{slug}.filling", streamed=False)
        refused = code == "audit_unavailable"
        if refused or time.monotonic() > end:
            break
    world.ask("PUT", f"/api/tenants/{slug}", json={"plan": AMPLE_PLAN})
    assert refused, f"{slug} was never refused for its size; the last call: {code}"


# --- shared parts -----------------------------------------------------------------------------------------------------


def kill_plane(world: World, _: str) -> None:
    _kill_part(world, "serve")
    until(world.service.plane_answers, "the control plane answers", BACK_DEADLINE_S)


def kill_activator(world: World, _: str) -> None:
    _kill_part(world, "activator")
    until(lambda: _listens(world.service.data / "run" / "activator.sock"), "the activator listens", BACK_DEADLINE_S)


def kill_litestream(world: World, _: str) -> None:
    _kill_part(world, "litestream")


def kill_edge(world: World, _: str) -> None:
    _kill_part(world, "edge")


def kill_everything(world: World, _: str) -> None:
    """The supervisor and its four parts at once, then `up` again. Instances are adopted as they are."""
    world.insist(world.service.kill, "kill everything")
    world.service.start()


def kill_engine(world: World, _: str) -> None:
    assert world.engine is not None
    world.engine.kill()
    world.engine.start()


def restart_engine(world: World, _: str) -> None:
    assert world.engine is not None
    world.engine.stop()
    world.engine.start()


def replicas_away(world: World, _: str) -> None:
    """The backups' disk fails for a while: something that is no folder lies in its place."""
    folder = world.service.data / "replicas"
    away = folder.with_suffix(".away")
    away.touch()
    _exchange(folder, away)
    try:
        time.sleep(AWAY_S)
    finally:
        _exchange(folder, away)
        away.unlink()


def revoke_a_key(world: World, slug: str) -> None:
    """From the moment that the revocation was confirmed the key opens nothing."""
    tenant = world.tenant(slug)
    made = world.ask("POST", f"/api/tenants/{slug}/keys?wait=true", json={"name": "doomed", "kind": "proxy"})
    key = made.get("api_key") or made["key"]
    until(lambda: call_once(tenant.openai(key=key), f"{slug}.doomed", False)[0] == OK, "the new key is accepted")

    def revoked() -> None:
        answer = world.service.api("DELETE", f"/api/tenants/{slug}/keys/{made['id']}?wait=true")
        # Asked a second time, because the first answer was lost, it is gone already.
        assert answer.status_code == 404 or answer.json().get("effective") is True, answer.text

    world.insist(revoked, "revoke a key")
    code, _ = call_once(tenant.openai(key=key), f"{slug}.revoked", False)
    until(lambda: code == "unauthorized" or _refused(world, slug, key), "the revoked key is refused as such")
    assert code != OK, f"{slug}: a revoked key was accepted"


# --- what they are made of --------------------------------------------------------------------------------------------


def _refused(world: World, slug: str, key: str) -> bool:
    code, _ = call_once(world.tenant(slug).openai(key=key), f"{slug}.revoked", False)
    assert code != OK, f"{slug}: a revoked key was accepted"
    return code == "unauthorized"


def _container(world: World, slug: str) -> str:
    found = world.service.container(slug)
    assert found, f"{slug} has no container now"
    return found


def _tenant(world: World, slug: str) -> dict[str, object]:
    found: dict[str, object] = world.ask("GET", f"/api/tenants/{slug}")
    return found


def _until_status(world: World, slug: str, status: str, deadline_s: float) -> None:
    until(lambda: _tenant(world, slug)["status"] == status, f"{slug} is {status}", deadline_s)


def _until_new_life(world: World, slug: str, epoch: object) -> None:
    """Its database is another one, verified where that was asked for, and its instance is routed to."""

    def began() -> bool:
        found = _tenant(world, slug)
        return found["epoch"] != epoch and found["restore"] is None and found["status"] == "running"

    until(began, f"{slug} lives again", RESTORE_DEADLINE_S)


@contextmanager
def _loses(world: World, slug: str) -> Iterator[None]:
    """Before it: what is completed is seen in the traces and then synced. After it: what else may be missing is noted."""
    begun = time.monotonic()
    kept = frozenset(world.must_be_kept(slug))
    until(lambda: kept <= _sessions(world, slug), f"completed calls are in the traces of {slug}", BACK_DEADLINE_S)
    world.insist(lambda: world.service.sync(slug), f"sync {slug}", RESTORE_DEADLINE_S)
    try:
        yield
    finally:
        world.losses.append(Loss(slug, begun, time.monotonic(), kept))


def _sessions(world: World, slug: str) -> set[str]:
    traces = world.insist(lambda: world.tenant(slug).all_traces(), f"read the traces of {slug}")
    return {each["session_id"] for each in traces}


def _kill_part(world: World, name: str) -> None:
    """Kill it; returns when its successor runs."""
    before = world.insist(lambda: world.service.pid(name), f"find {name}")
    _kill(before)

    def is_another() -> bool:
        return world.insist(lambda: world.service.pid(name), f"find {name}") != before

    until(is_another, f"{name} is started again", BACK_DEADLINE_S)


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _exchange(one: Path, other: Path) -> None:
    """Both names at once, so that nobody finds nothing under either."""
    done = ctypes.CDLL(None, use_errno=True).renameat2(
        AT_FDCWD, bytes(one), AT_FDCWD, bytes(other), ctypes.c_uint(RENAME_EXCHANGE)
    )
    if done != 0:
        raise OSError(ctypes.get_errno(), f"cannot exchange {one} and {other}")


DOCKER = ("docker",)
FAULTS: dict[str, Fault] = {
    "instance killed": Fault(Touches.VICTIM, kill_process),
    "container killed": Fault(Touches.VICTIM, docker_kill, DOCKER),
    "container removed": Fault(Touches.VICTIM, docker_remove, DOCKER),
    "data folder deleted": Fault(Touches.VICTIM, delete_data_folder),
    "restored to a time": Fault(Touches.VICTIM, restore_to_a_time),
    "database full": Fault(Touches.VICTIM, fill_to_the_limit),
    "paused by hand": Fault(Touches.HELD, pause_by_hand),
    "route unlinked": Fault(Touches.HELD, unlink_route),
    "put to sleep under calls": Fault(Touches.HELD, sleep_under_calls),
    "slept and woken": Fault(Touches.HELD, sleep_and_wake),
    "control plane killed": Fault(Touches.SHARED, kill_plane),
    "activator killed": Fault(Touches.SHARED, kill_activator),
    "engine killed": Fault(Touches.SHARED, kill_engine, DOCKER),
    "engine restarted": Fault(Touches.SHARED, restart_engine, DOCKER),
    "Litestream killed": Fault(Touches.NOBODY, kill_litestream),
    "replicas away": Fault(Touches.NOBODY, replicas_away),
    "key revoked": Fault(Touches.NOBODY, revoke_a_key),
    "edge killed": Fault(Touches.EVERYBODY, kill_edge),
    "everything killed": Fault(Touches.EVERYBODY, kill_everything),
}
