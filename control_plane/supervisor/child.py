"""One process of the service: started, watched, started again when it dies, ended."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0
STARTS_BEFORE_READY = 4
STEADY_S = 30.0  # alive for so long, it counts as well again
POLL_S = 0.02


class Child:
    """A program that shall run until `stop`. Its output goes to a log file of its own.

    It gets a session of its own, so that Ctrl-C in a terminal reaches the supervisor alone, which ends all in order.
    """

    def __init__(
        self,
        name: str,
        command: Callable[[], list[str]],
        environment: Mapping[str, str],
        log: Path,
        *,
        is_ready: Callable[[], Awaitable[bool]],
        changed: Callable[[], None],
        stop_signal: int = signal.SIGTERM,
        grace_s: float = 15.0,
    ) -> None:
        self.name = name
        self._command = command
        self._environment = environment
        self._log = log
        self._is_ready = is_ready
        self._changed = changed
        self._stop_signal = stop_signal
        self._grace_s = grace_s
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self.starts = 0

    @property
    def pid(self) -> int | None:
        """Of the process that runs now."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def start(self) -> None:
        """Start it, and from then on start it again whenever it ends."""
        await self._spawn()
        self._watch = asyncio.create_task(self._keep_running())

    async def ready(self, deadline_s: float) -> None:
        """Return once it does its work. Raises `TimeoutError`, or `RuntimeError` if it only ever ends, with its log."""
        end = time.monotonic() + deadline_s
        while not await self._is_ready():
            if self.starts > STARTS_BEFORE_READY:
                raise RuntimeError(f"`{self.name}` ended {self.starts - 1} times\n{self.log_tail()}")
            if time.monotonic() > end:
                raise TimeoutError(f"`{self.name}` is not ready after {deadline_s:.0f} s\n{self.log_tail()}")
            await asyncio.sleep(POLL_S)

    async def stop(self) -> None:
        """End it, first asked, then killed."""
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
            self._watch = None
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(self._stop_signal)
        try:
            await asyncio.wait_for(process.wait(), self._grace_s)
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def log_tail(self, lines: int = 15) -> str:
        """The last it said."""
        with suppress(FileNotFoundError):
            return "\n".join(self._log.read_text("utf-8", "replace").splitlines()[-lines:])
        return ""

    async def _spawn(self) -> None:
        descriptor = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command(),
                env=dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                start_new_session=True,
            )
        finally:
            os.close(descriptor)
        self.starts += 1
        self._changed()

    async def _keep_running(self) -> None:
        pause = FIRST_PAUSE_S
        while True:
            process = self._process
            assert process is not None
            since = time.monotonic()
            await process.wait()
            if time.monotonic() - since > STEADY_S:
                pause = FIRST_PAUSE_S
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)
            await self._spawn()
