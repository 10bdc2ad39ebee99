"""`up`: what it prints, what it refuses, and that it leaves nothing behind."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.callers import Caller
from tests.chaos.disturbances import OK, Disturbance, Touches, first_answer, touched_by, windows
from tests.cloud.service import COMMAND, Service, docker, until

pytestmark = pytest.mark.slow


@pytest.fixture
def fresh(runtime: str) -> Iterator[Service]:
    service = Service(runtime)
    yield service
    service.remove()


def _processes_of(service: Service) -> list[str]:
    """Command lines of every process that names the data folder, or was given it in its environment."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                text = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
            except OSError:
                continue
            if str(service.data).encode() in text:
                found.append((folder / "cmdline").read_bytes().decode("utf-8", "replace").replace("\0", " "))
    return found


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_a_call_that_works_and_leaves_nothing_behind(fresh: Service, how: int) -> None:
    said = fresh.start("--demo")
    call = shlex.split(said[said.index("curl ") : said.index("\n\nCtrl-C")].replace("\\\n", " "))
    answer = subprocess.run(call, capture_output=True, text=True, check=True, timeout=30)
    assert "echo: Hello!" in answer.stdout

    assert fresh.stop(how) == 0
    assert _processes_of(fresh) == []
    assert [path for path in fresh.data.rglob("*") if path.is_socket()] == []
    for port in (fresh.port, fresh.edge_port):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0
    if fresh.runtime == "docker":
        assert docker("ps", "-aq", "--filter", f"label=stockyard.owner={fresh.data}") == ""


def test_a_second_start_shows_a_key_that_works_and_keeps_the_traces(fresh: Service) -> None:
    first = fresh.start("--demo")
    fresh.stop()
    second = fresh.start("--demo")
    key = first[first.index("sk-sy-") :].split()[0]
    assert key in second
    call = shlex.split(second[second.index("curl ") : second.index("\n\nCtrl-C")].replace("\\\n", " "))
    assert "echo: Hello!" in subprocess.run(call, capture_output=True, text=True, check=True, timeout=30).stdout


def test_a_second_up_on_the_same_folder_is_refused(fresh: Service) -> None:
    fresh.start()
    second = subprocess.run(
        [COMMAND, "up"], env=fresh.environment, capture_output=True, text=True, check=False, timeout=30
    )
    assert second.returncode == 1
    assert "runs already" in second.stderr
    assert fresh.plane_answers()


def test_after_the_supervisor_was_killed_the_next_one_takes_over(fresh: Service) -> None:
    fresh.start()
    tenant = fresh.create("kept")
    tenant.say("before")
    assert fresh.process is not None and fresh.process.stdout is not None
    fresh.process.kill()
    fresh.process.wait()
    fresh.process.stdout.close()
    fresh.start()
    until(lambda: tenant.show()["status"] == "running", "the instance is adopted")
    assert tenant.say("after") == "echo: after"


def test_after_everything_but_the_instances_was_killed_they_are_adopted_as_they_are(fresh: Service) -> None:
    """Calls fail only while the edge is away, and then they are not connected at all."""
    fresh.start()
    tenant = fresh.create("kept")
    caller = Caller(tenant, seed=0)
    caller.start()
    try:
        until(lambda: len(caller.calls) >= 3, "it is called")
        instance = fresh.instance_pid("kept")
        killed = Disturbance("everything killed", Touches.EVERYBODY, begun=time.monotonic())
        fresh.kill()
        until(lambda: caller.calls[-1].code != OK, "the edge is away")
        fresh.start()
        killed.ended = time.monotonic()
        answer = until(lambda: first_answer(caller.calls, "kept", killed.ended), "it is answered again")
        killed.healed["kept"] = answer.ended
        until(lambda: caller.calls[-1].begun > answer.ended + 3, "calls go on")  # passes of the reconciler
    finally:
        caller.leave()
        caller.join(70)
    of = {"kept": windows("kept", [killed])}
    failed = [call for call in caller.calls if call.code != OK]
    assert {call.code for call in failed} <= {"not_connected", "cut"}
    assert all(touched_by(call, of) for call in failed)
    assert fresh.instance_pid("kept") == instance
    completed = {call.trace_id for call in caller.calls if call.code == OK}
    until(lambda: completed <= {trace["id"] for trace in tenant.all_traces()}, "every completed call is in the traces")
