"""The README's tours, run as they stand: its commands against fresh data folders, its output against what comes."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.docs.console import Shell, Step, steps, tidy
from tests.docs.pages import ROOT, blocks

BIN = Path(sys.executable).parent
START_S = 60
STOP_S = 40


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Tour:
    """A home of its own, one shell, and the servers that the tour starts in "another terminal"."""

    def __init__(self, folder: Path, ports: dict[str, str], servers: dict[str, str], env: dict[str, str]) -> None:
        self.folder = folder
        self.ports = ports
        self.servers = servers
        self.env = {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(folder), "LANG": "C.UTF-8"} | env
        self.shell = Shell(folder, self.env)
        self.log = folder / "server.log"
        self.server: subprocess.Popen[bytes] | None = None

    def here(self, text: str) -> str:
        """The page's ports as they are in this run, and the keys that the server printed for those cut short."""
        for shown, used in self.ports.items():
            text = text.replace(shown, used)
        return text

    def with_keys(self, command: str) -> str:
        printed = self.log.read_text() if self.log.exists() else ""
        for prefix in ("sk-sy-", "sy_admin_"):
            found = re.search(prefix + r"[\w-]{20,}", printed)
            if found:
                command = command.replace(f"{prefix}…", found[0])
        return command

    def take(self, step: Step) -> None:
        """Run one step; fails with what came instead of what is shown."""
        shown = Step(step.command, self.here(step.shown), step.line)
        if step.command in self.servers:
            output = self.started(shown)
        else:
            output = self.shell.run(self.with_keys(self.here(step.command)))
        assert shown.matches(output), (
            f"README.md:{step.line}: {step.command}\nshown:\n{shown.shown}\n\ncame:\n{tidy(output)}"
        )

    def started(self, shown: Step) -> str:
        """Start the server; its output once it is as shown, or after the deadline."""
        with self.log.open("wb") as log:
            self.server = subprocess.Popen(
                self.servers[shown.command].split(), env=self.env, stdout=log, stderr=log, cwd=self.folder
            )
        deadline = time.monotonic() + START_S
        while not shown.matches(self.log.read_text()) and time.monotonic() < deadline and self.server.poll() is None:
            time.sleep(0.05)
        return self.log.read_text()

    def end(self) -> None:
        """Ctrl-C, as the reader would; it must be a clean end."""
        self.shell.close()
        if self.server is not None:
            self.server.send_signal(signal.SIGINT)
            assert self.server.wait(STOP_S) == 0, self.log.read_text()


@contextmanager
def tour(ports: dict[str, str], servers: dict[str, str], env: dict[str, str]) -> Iterator[Tour]:
    folder = Path(tempfile.mkdtemp(prefix="sy"))
    run = Tour(folder, ports, servers, env)
    try:
        yield run
    except BaseException:
        if run.server is not None:
            run.server.terminate()
            run.server.wait(STOP_S)
        raise
    else:
        run.end()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_the_tour_of_one_instance_runs_as_shown() -> None:
    (port,) = free_ports(1)
    serve = {"make serve": f"{BIN}/stockyard serve --port {port}"}
    with tour({"127.0.0.1:4200": f"127.0.0.1:{port}"}, serve, {}) as run:
        for block in blocks(ROOT / "README.md", "run: instance"):
            for step in steps(block):
                run.take(step)


@pytest.mark.slow
def test_the_tour_of_the_cloud_runs_as_shown() -> None:
    api, edge = free_ports(2)
    up = {"make up": f"{BIN}/stockyard-cloud up --demo"}
    env = {"STOCKYARD_CLOUD_LISTEN": f"127.0.0.1:{api}", "STOCKYARD_CLOUD_EDGE_LISTEN": f"127.0.0.1:{edge}"}
    ports = {"127.0.0.1:4300": f"127.0.0.1:{api}", "127.0.0.1:8080": f"127.0.0.1:{edge}"}
    with tour(ports | {"localhost:8080": f"localhost:{edge}"}, up, env) as run:
        for block in blocks(ROOT / "README.md", "run: cloud"):
            for step in steps(block):
                run.take(step)
