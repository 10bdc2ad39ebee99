"""Instances as plain processes of this machine: the embedded engine, no isolation boundary.

Each runs in a session of its own and outlives the control plane, which knows it again by the record of its process id
and start time. The record is written before the process is made, then completed: one whose process id is missing is
looked for among the machine's processes by its socket, so that a crash in between leaves no instance unknown. With a
template it is forked from that, which is several times faster, and spawned whenever that does not work.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from control_plane.runtimes import proc
from control_plane.runtimes.log_file import lines_of
from control_plane.runtimes.process_record import ProcessRecord, Records
from control_plane.runtimes.protocol import EngineError, InstanceSpec, Observed, RunState, StopFailed
from control_plane.runtimes.template import NoTemplate, Template

SOCKET = "own.sock"
LOG_MOST_BYTES = 8 << 20
KILL_WAIT_S = 5.0
POLL_S = 0.01
CODE_ROOT = Path(__file__).resolve().parents[2]


class ProcessRuntime:
    """`Runtime` on spawned processes and signals."""

    def __init__(self, *, records: Path, logs: Path, template: Template | None = None) -> None:
        self._records = Records(records)
        self._logs = logs
        self._template = template

    async def prepare(self) -> None:
        """Make the folders, and the template that the first starts will need."""
        self._make_folders()
        if self._template is not None:
            self._template.keep()

    async def observe(self, name: str | None = None) -> list[Observed]:
        """From the records and /proc."""
        records = self._records.every() if name is None else [self._records.get(name)]
        return [self._look(each) for each in records if each is not None]

    async def start(self, spec: InstanceSpec) -> None:
        """Spawn it in a session of its own, its environment made of the spec alone."""
        record = self._records.get(spec.name)
        if record is not None and self._look(record).alive:
            if record.revision == spec.revision and record.epoch == spec.epoch:
                return
            raise EngineError(f"{spec.name} runs already, under another revision or epoch")
        if not spec.data_dir.is_dir():
            raise EngineError(f"the data folder of {spec.name} is gone")
        self._make_folders()
        socket = spec.socket_dir / SOCKET
        record = ProcessRecord(spec.name, spec.epoch, spec.revision, spec.image, str(socket), time.time())
        self._records.put(record)

        def note(pid: int) -> None:
            self._records.put(replace(record, pid=pid, start_ticks=proc.start_ticks(pid) or 0, boot=proc.boot_id()))

        log = self._open_log(spec.name)
        try:
            if not await self._fork(spec, socket, log, note):
                note(self._spawn(spec, socket, log))
        finally:
            os.close(log)

    async def pause(self, name: str) -> None:
        """SIGSTOP to all of its processes; returns when it is seen stopped."""
        record = self._alive(name)
        if record is None or record.pid is None:
            raise EngineError(f"{name} does not run")
        os.killpg(record.pid, signal.SIGSTOP)
        await self._until(name, lambda seen: seen.state is not RunState.RUNNING, 1.0)

    async def resume(self, name: str) -> None:
        """SIGCONT."""
        record = self._alive(name)
        if record is None or record.pid is None:
            raise EngineError(f"{name} does not run")
        os.killpg(record.pid, signal.SIGCONT)
        await self._until(name, lambda seen: seen.state is not RunState.PAUSED, 1.0)

    async def stop(self, name: str, grace_s: float) -> None:
        """SIGTERM, and SIGKILL after the grace."""
        record = self._alive(name)
        if record is None or record.pid is None:
            return
        with suppress(ProcessLookupError):
            os.kill(record.pid, signal.SIGTERM)
            os.killpg(record.pid, signal.SIGCONT)
        if await self._until(name, lambda seen: not seen.alive, grace_s):
            return
        with suppress(ProcessLookupError):
            os.killpg(record.pid, signal.SIGKILL)
        if not await self._until(name, lambda seen: not seen.alive, KILL_WAIT_S):
            raise StopFailed(f"process {record.pid} of {name} is still there after SIGKILL")

    async def remove(self, name: str) -> None:
        """Drop its record."""
        if self._alive(name) is not None:
            raise EngineError(f"{name} runs; stop it first")
        self._records.drop(name)

    def logs(self, name: str, *, lines: int, follow: bool) -> AsyncIterator[str]:
        """From its log file, where all that it writes goes."""
        return lines_of(self._logs / f"{name}.log", lines=lines, follow=follow)

    # --- one process ----------------------------------------------------------------------------------------------------

    def _make_folders(self) -> None:
        self._records.prepare()
        self._logs.mkdir(parents=True, exist_ok=True)

    def _open_log(self, name: str) -> int:
        path = self._logs / f"{name}.log"
        with suppress(FileNotFoundError):
            if path.stat().st_size > LOG_MOST_BYTES:
                path.replace(path.with_suffix(".log.1"))
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    async def _fork(self, spec: InstanceSpec, socket: Path, log: int, note: Callable[[int], None]) -> bool:
        """True if the template made it; else nothing was started."""
        if self._template is None:
            return False
        try:
            await self._template.fork(command(spec, socket), environment(spec), log, note)
        except NoTemplate:
            return False
        return True

    def _spawn(self, spec: InstanceSpec, socket: Path, log: int) -> int:
        files = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, log, 1),
            (os.POSIX_SPAWN_DUP2, log, 2),
        ]
        arguments = command(spec, socket)
        try:
            # Signals this process ignores or blocks would be inherited so.
            return os.posix_spawn(
                arguments[0],
                arguments,
                environment(spec),
                file_actions=files,
                setsid=True,
                setsigmask=(),
                setsigdef=(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE),
            )
        except OSError as error:
            raise EngineError(f"{spec.name} cannot be started: {error}") from None

    def _look(self, record: ProcessRecord) -> Observed:
        return _observed(*self._found(record))

    def _found(self, record: ProcessRecord) -> tuple[ProcessRecord, RunState]:
        """The record with what became of its process since it was written.

        Only what was learned for good is written back: the activator looks too, and must not overwrite a start.
        """
        if record.exited:
            return record, RunState.EXITED
        if record.pid is None:
            pid = proc.find_by_argument(record.socket)
            if pid is None:
                return replace(record, exited=True), RunState.EXITED
            record = self._put(replace(record, pid=pid, start_ticks=proc.start_ticks(pid) or 0, boot=proc.boot_id()))
        pid = record.pid
        assert pid is not None
        letter, start_ticks = proc.status(pid)
        code = proc.reap(pid) if letter in ("Z", "X", "") else None
        if code is not None:
            return self._put(replace(record, exited=True, exit_code=code)), RunState.EXITED
        same = record.boot == proc.boot_id() and start_ticks == record.start_ticks
        if same and letter not in ("Z", "X", ""):
            return record, RunState.PAUSED if letter in ("T", "t") else RunState.RUNNING
        code = self._template.exit_code(pid) if self._template is not None else None
        record = replace(record, exited=True, exit_code=record.exit_code if code is None else code)
        return record if code is None else self._put(record), RunState.EXITED

    def _put(self, record: ProcessRecord) -> ProcessRecord:
        self._records.put(record)
        return record

    def _alive(self, name: str) -> ProcessRecord | None:
        record = self._records.get(name)
        found = self._found(record)[0] if record is not None else None
        return found if found is not None and not found.exited else None

    async def _until(self, name: str, holds: proc.Holds, timeout_s: float) -> bool:
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        while True:
            seen = await self.observe(name)
            if not seen or holds(seen[0]):
                return True
            if loop.time() >= until:
                return False
            await asyncio.sleep(POLL_S)


def command(spec: InstanceSpec, socket: Path) -> list[str]:
    """The instance's command line; `-P`, since the control plane's working folder is none of its business."""
    return [
        sys.executable,
        "-P",
        "-m",
        "instance.cli",
        "serve",
        "--uds",
        str(socket),
        "--data",
        str(spec.data_dir),
    ]


def environment(spec: InstanceSpec) -> dict[str, str]:
    """The whole environment of the instance."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": str(spec.data_dir),
        "PYTHONPATH": str(CODE_ROOT),
        "STOCKYARD_DATA": str(spec.data_dir),
        "STOCKYARD_INSTANCE_FILE": str(spec.instance_file),
        **spec.env,
    }


def _observed(record: ProcessRecord, state: RunState) -> Observed:
    return Observed(
        name=record.name,
        state=state,
        epoch=record.epoch,
        revision=record.revision,
        image=record.image,
        run_id=f"{record.boot}:{record.pid}:{record.start_ticks}",
        pid=None if record.exited else record.pid,
        started_at=record.started_at,
        exit_code=record.exit_code,
    )
