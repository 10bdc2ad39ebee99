"""A real `stockyard serve` process for the tests."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx2

DEADLINE_S = 30.0
CALL = {"model": "mock/gpt", "messages": [{"role": "user", "content": "hi"}]}


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without settings of an instance."""
    return {name: value for name, value in os.environ.items() if not name.startswith("STOCKYARD_")} | dict(more)


class Server:
    """A process that serves; `output` is where it writes."""

    def __init__(self, arguments: list[str], output: Path, env: Mapping[str, str]) -> None:
        self.output = output
        with output.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "instance.cli", "serve", *arguments],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment(env),
                cwd=Path(__file__).parents[2],
            )

    def said(self) -> str:
        """Everything it printed."""
        return self.output.read_text()

    def wait_until_said(self, pattern: str) -> re.Match[str]:
        """Wait for a line; the match. Fails when the process ends before, or at the deadline."""
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            found = re.search(pattern, self.said())
            if found:
                return found
            assert self.process.poll() is None, self.said()
            time.sleep(0.01)
        raise AssertionError(f"{pattern!r} was not said: {self.said()}")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal it; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    def key(self, kind: str) -> str:
        """A key of the first boot."""
        return self.wait_until_said(rf"{kind} +(sy_admin_\S+|sk-sy-\S+)")[1]


@contextmanager
def serving(arguments: list[str], output: Path, env: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Serve until the end of the block; whatever happened in it, no process is left."""
    server = Server(arguments, output, env or {})
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait(DEADLINE_S)


def unix_client(path: Path | str, key: str = "") -> httpx2.Client:
    """A client of a Unix socket."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx2.Client(
        transport=httpx2.HTTPTransport(uds=str(path)), base_url="http://instance", headers=headers, timeout=DEADLINE_S
    )
