"""Instances forked from the template: what they are given, and that they are as good as spawned ones."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from control_plane.runtimes import proc
from control_plane.runtimes.process import CODE_ROOT, ProcessRuntime, command
from control_plane.runtimes.protocol import InstanceSpec, Observed, RunState
from control_plane.runtimes.template import Template

pytestmark = pytest.mark.slow
DEADLINE_S = 30.0


@dataclass
class Machine:
    """A folder with real instances in it, and the template they come from."""

    folder: Path
    runtime: ProcessRuntime
    template: Template

    def spec(self, name: str, **env: str) -> InstanceSpec:
        data, sockets, secret = (self.folder / part / name for part in ("d", "s", "f"))
        for each in (data, sockets, secret):
            each.mkdir(parents=True, exist_ok=True)
        file = secret / "instance.json"
        file.write_text(json.dumps({"epoch": 1, "instance_key": "sy_inst_" + "a" * 43, "secret_key": "ab" * 32}))
        return InstanceSpec(name, "", 1, "r1", data, sockets, file, env=env)

    def reopened(self) -> tuple[ProcessRuntime, Template]:
        """As the next control plane opens it."""
        template = Template(CODE_ROOT, self.folder / "template.log")
        return ProcessRuntime(records=self.folder / "run", logs=self.folder / "logs", template=template), template

    async def warm(self) -> int:
        """Wait until it forks; its process id."""
        process = None

        def is_warm() -> bool:
            nonlocal process
            self.template.keep()
            process = self.template._process
            return self.template._ready

        await until(is_warm)
        assert process is not None
        return process.pid

    async def started(self, spec: InstanceSpec) -> Observed:
        await self.runtime.start(spec)
        await until(lambda: _answers(spec.socket_dir / "own.sock"))
        (seen,) = await self.runtime.observe(spec.name)
        return seen


async def until(holds: Callable[[], bool]) -> None:
    ends = asyncio.get_running_loop().time() + DEADLINE_S
    while not holds():
        assert asyncio.get_running_loop().time() < ends
        await asyncio.sleep(0.02)


def _answers(path: Path) -> bool:
    with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        client.connect(str(path))
        client.sendall(b"GET /ready HTTP/1.1\r\nHost: instance\r\nConnection: close\r\n\r\n")
        return b" 200 " in client.recv(200)
    return False


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def command_line(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")


@pytest.fixture
async def machine() -> AsyncIterator[Machine]:
    folder = Path(tempfile.mkdtemp(prefix="sy"))
    template = Template(CODE_ROOT, folder / "template.log")
    runtime = ProcessRuntime(records=folder / "run", logs=folder / "logs", template=template)
    await runtime.prepare()
    try:
        yield Machine(folder, runtime, template)
    finally:
        for each in await runtime.observe():
            await runtime.stop(each.name, 5.0)
        template.end()
        shutil.rmtree(folder)


async def test_an_instance_is_forked_and_looks_like_a_spawned_one(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "the operator's")
    template = await machine.warm()
    spec = machine.spec("acme", EXTRA="1")
    seen = await machine.started(spec)
    assert seen.pid is not None
    assert parent_of(seen.pid) == template
    assert command_line(seen.pid) == command(spec, spec.socket_dir / "own.sock")
    assert os.getsid(seen.pid) == seen.pid
    assert b"OPENAI" not in Path(f"/proc/{seen.pid}/environ").read_bytes()
    opened = {str(each.readlink()) for each in Path(f"/proc/{seen.pid}/fd").iterdir()}
    assert str(machine.folder / "logs" / "acme.log") in opened
    assert not [each for each in opened if "template" in each]


async def test_before_the_template_is_warm_an_instance_is_spawned(machine: Machine) -> None:
    seen = await machine.started(machine.spec("acme"))
    assert seen.pid is not None and parent_of(seen.pid) == os.getpid()


async def test_instances_outlive_the_template_which_is_made_anew(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await machine.warm()
    seen = await machine.started(machine.spec("acme"))
    os.kill(first, signal.SIGKILL)
    await until(lambda: proc.state(first) in ("Z", ""))
    spawned = await machine.started(machine.spec("bob"))
    assert spawned.pid is not None and parent_of(spawned.pid) == os.getpid()
    assert await machine.runtime.observe("acme") == [seen]
    monkeypatch.setattr("control_plane.runtimes.template.AGAIN_S", 0.0)
    assert await machine.warm() != first
    assert (await machine.started(machine.spec("eve"))).state is RunState.RUNNING


async def test_a_template_that_does_not_move_is_given_up_and_the_instance_spawned(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control_plane.runtimes.template.ANSWER_S", 0.2)
    template = await machine.warm()
    os.kill(template, signal.SIGSTOP)
    seen = await machine.started(machine.spec("acme"))
    assert seen.pid is not None and parent_of(seen.pid) == os.getpid()
    assert proc.state(template) == ""


async def test_the_next_control_plane_adopts_what_was_forked(machine: Machine) -> None:
    template = await machine.warm()
    seen = await machine.started(machine.spec("acme"))
    machine.template.end()
    assert proc.state(template) == ""
    runtime, _ = machine.reopened()
    assert await runtime.observe("acme") == [seen]
    await runtime.stop("acme", 5.0)
    (ended,) = await runtime.observe("acme")
    assert not ended.alive


async def test_a_forked_instance_that_was_never_noted_does_not_begin(machine: Machine) -> None:
    await machine.warm()
    spec = machine.spec("acme")
    pids = []

    def crash(pid: int) -> None:
        pids.append(pid)
        raise RuntimeError("the control plane dies here")

    log = os.open(machine.folder / "log", os.O_WRONLY | os.O_CREAT)
    with pytest.raises(RuntimeError):
        await machine.template.fork(command(spec, spec.socket_dir / "own.sock"), {}, log, crash)
    os.close(log)
    await until(lambda: proc.state(pids[0]) in ("Z", ""))
    assert not (spec.socket_dir / "own.sock").exists()
    assert not list(spec.data_dir.iterdir())


async def test_how_a_forked_instance_ended_is_known(machine: Machine) -> None:
    await machine.warm()
    spec = machine.spec("acme")
    seen = await machine.started(spec)
    os.kill(seen.pid or 0, signal.SIGKILL)
    await until(lambda: machine.template.exit_code(seen.pid or 0) is not None)
    (ended,) = await machine.runtime.observe("acme")
    assert (ended.alive, ended.exit_code) == (False, 137)


async def test_after_a_change_of_the_code_a_new_template_is_made(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await machine.warm()
    monkeypatch.setattr("control_plane.runtimes.template.CHECK_CODE_S", 0.0)
    monkeypatch.setattr("control_plane.runtimes.template._version_of", lambda code: "another")
    seen = await machine.started(machine.spec("acme"))
    assert seen.pid is not None and parent_of(seen.pid) != first
    assert proc.state(first) == ""
    assert await machine.warm() != first
