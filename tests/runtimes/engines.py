"""The engines under test, each with what its specs need."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from control_plane.runtimes import process
from control_plane.runtimes.process import ProcessRuntime
from control_plane.runtimes.protocol import InstanceSpec, Observed, RunState, Runtime

TOY = Path(__file__).with_name("toy_instance.py")
DEADLINE_S = 20.0


@dataclass
class Engine:
    """A runtime, and a way to describe an instance to it."""

    runtime: Runtime
    spec: Callable[..., InstanceSpec]
    reopened: Callable[[], Runtime]  # as the next control plane opens it
    crash: Callable[[Observed], None]  # kill -9 from outside

    async def seen(self, name: str) -> Observed | None:
        """What it sees of one instance."""
        found = await self.runtime.observe(name)
        return found[0] if found else None

    async def started(self, spec: InstanceSpec) -> Observed:
        """Start it and wait until it is seen running and, where there is one, its socket."""
        await self.runtime.start(spec)
        listens = spec.socket_dir / "own.sock"
        simulated = not spec.socket_dir.is_dir()
        seen = await self.until(
            spec.name,
            lambda found: found is not None and found.state is RunState.RUNNING and (simulated or listens.exists()),
        )
        assert seen is not None
        return seen

    async def until(self, name: str, holds: Callable[[Observed | None], bool]) -> Observed | None:
        """Wait until that holds."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + DEADLINE_S
        while not holds(found := await self.seen(name)):
            assert loop.time() < ends, f"still {found}"
            await asyncio.sleep(0.01)
        return found


def spec_in(folder: Path, name: str, image: str, env: Mapping[str, str], revision: str, epoch: int) -> InstanceSpec:
    """A spec with its folders made."""
    data, sockets, secrets = folder / name, folder / "s" / name, folder / "secrets"
    for each in (data, sockets, secrets):
        each.mkdir(parents=True, exist_ok=True)
        each.chmod(0o777)
    (secrets / "instance.json").write_text("{}")
    (secrets / "instance.json").chmod(0o444)
    return InstanceSpec(name, image, epoch, revision, data, sockets, secrets / "instance.json", env=env)


@asynccontextmanager
async def process_engine(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Engine]:
    """Processes, with the toy in the instance's place; whatever it leaves is ended."""
    folder = Path(tempfile.mkdtemp(prefix="sy"))
    monkeypatch.setattr(process, "command", _toy_command)

    def opened() -> ProcessRuntime:
        return ProcessRuntime(records=folder / "run", logs=folder / "logs")

    def spec(name: str = "acme", *, revision: str = "r1", epoch: int = 1, **env: str) -> InstanceSpec:
        return spec_in(folder, name, "", env, revision, epoch)

    runtime = opened()
    await runtime.prepare()
    try:
        yield Engine(runtime, spec, opened, lambda seen: os.kill(seen.pid or 0, signal.SIGKILL))
    finally:
        await _end_all(runtime)
        shutil.rmtree(folder)


@asynccontextmanager
async def docker_engine(image: str) -> AsyncIterator[Engine]:
    """Containers of an image whose `stockyard` is the toy."""
    from control_plane.runtimes.docker import DockerRuntime

    folder = Path(tempfile.mkdtemp(prefix="sy"))

    def opened() -> Runtime:
        return DockerRuntime(owner=str(folder))

    def spec(name: str = "acme", *, revision: str = "r1", epoch: int = 1, **env: str) -> InstanceSpec:
        return spec_in(folder, name, image, env, revision, epoch)

    runtime = opened()
    await runtime.prepare()
    try:
        yield Engine(runtime, spec, opened, _docker_kill)
    finally:
        await _end_all(runtime)
        shutil.rmtree(folder)


@asynccontextmanager
async def simulated_engine() -> AsyncIterator[Engine]:
    """The one of the simulation, without faults: what holds of the real ones must hold of it."""
    from tests.simulation.invariants import Invariants
    from tests.simulation.plane import Faults, Plane
    from tests.simulation.sim_machine import SimRuntime
    from tests.simulation.sim_store import Tables
    from tests.simulation.world import Volume, World

    chance, faults = random.Random(1), Faults()
    faults.cease()
    world = World(chance)
    invariants = Invariants(world)
    tables = Tables(world=world, invariants=invariants)

    def opened() -> Runtime:
        return SimRuntime(Plane(chance, faults), tables)

    def spec(name: str = "acme", *, revision: str = "r1", epoch: int = 1, **env: str) -> InstanceSpec:
        tables.create(name, 1, 1)
        tables.tenants[name].epoch = epoch
        world.volumes[name] = Volume(epoch=epoch)
        return InstanceSpec(name, "image", epoch, revision, Path(name), Path(name), Path(name), env=env)

    yield Engine(opened(), spec, opened, lambda seen: world.end_instance(world.instances[seen.name], 137))


def _docker_kill(seen: Observed) -> None:
    subprocess.run(["docker", "kill", seen.run_id], check=True, capture_output=True, timeout=20)


async def _end_all(runtime: Runtime) -> None:
    for each in await runtime.observe():
        await runtime.stop(each.name, 0.2)
        await runtime.remove(each.name)


def _toy_command(spec: InstanceSpec, socket: Path) -> list[str]:
    return [sys.executable, str(TOY), "serve", "--uds", str(socket), "--data", str(spec.data_dir)]
