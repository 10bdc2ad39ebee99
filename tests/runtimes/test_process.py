"""What is particular to instances as processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from control_plane.runtimes import proc, process
from control_plane.runtimes.process_record import ProcessRecord, Records
from control_plane.runtimes.protocol import EngineError, RunState
from tests.runtimes.engines import Engine

pytestmark = pytest.mark.slow


async def test_nothing_of_the_control_planes_environment_reaches_an_instance(
    processes: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "the operator's")
    spec = processes.spec(EXTRA="1")
    await processes.started(spec)
    names = set((spec.data_dir / "environment").read_text().split("\n"))
    known = {"PATH", "LANG", "HOME", "PYTHONPATH", "STOCKYARD_DATA", "STOCKYARD_INSTANCE_FILE", "EXTRA", "LC_CTYPE"}
    assert names <= known and "EXTRA" in names


async def test_an_instance_is_in_a_session_of_its_own(processes: Engine) -> None:
    seen = await processes.started(processes.spec())
    assert seen.pid is not None
    assert os.getsid(seen.pid) == seen.pid != os.getsid(0)


async def test_an_ended_instance_leaves_no_zombie(processes: Engine) -> None:
    await processes.runtime.start(processes.spec(TOY_ENDS="1"))
    ended = await processes.until("acme", lambda found: found is not None and not found.alive)
    assert ended is not None and ended.exit_code == 7
    assert proc.state(int(ended.run_id.split(":")[1])) == ""


async def test_a_stubborn_instance_is_killed_after_its_grace(processes: Engine) -> None:
    await processes.started(processes.spec(TOY_STUBBORN="1"))
    await processes.runtime.stop("acme", 0.1)
    seen = await processes.seen("acme")
    assert seen is not None and seen.exit_code == 137


async def test_another_process_that_got_the_same_id_is_not_taken_for_the_instance(processes: Engine) -> None:
    seen = await processes.started(processes.spec())
    records = Records(_records(processes))
    record = records.get("acme")
    assert record is not None
    stranger = ProcessRecord("bob", 1, "r", "", "/nowhere", 0.0, os.getpid(), record.start_ticks - 1, record.boot)
    records.put(stranger)
    found = {each.name: each.state for each in await processes.runtime.observe()}
    assert found == {"acme": RunState.RUNNING, "bob": RunState.EXITED}
    assert seen.alive


async def test_a_process_spawned_just_before_a_crash_of_the_control_plane_is_found_again(processes: Engine) -> None:
    seen = await processes.started(processes.spec())
    records = Records(_records(processes))
    record = records.get("acme")
    assert record is not None
    records.put(ProcessRecord("acme", 1, "r1", "", record.socket, record.started_at))  # as before the spawn returned
    again = await processes.seen("acme")
    assert again is not None and (again.pid, again.run_id) == (seen.pid, seen.run_id)


async def test_an_instance_is_not_started_on_a_data_folder_that_is_gone(processes: Engine) -> None:
    spec = processes.spec()
    spec.data_dir.rmdir()
    with pytest.raises(EngineError, match="gone"):
        await processes.runtime.start(spec)


async def test_what_an_instance_says_goes_to_its_log(processes: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "command", lambda spec, socket: ["/bin/sh", "-c", "echo said; echo complained >&2"])
    await processes.runtime.start(processes.spec())
    await processes.until("acme", lambda found: found is not None and not found.alive)
    log = _records(processes).parent / "logs" / "acme.log"
    assert log.read_text().split() == ["said", "complained"]


def _records(engine: Engine) -> Path:
    return engine.spec().data_dir.parent / "run"
