"""The servers under test, each a process of its own on a core of its own."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

SERVER_CORE = 0
CLIENT_CORE = os.cpu_count() - 1 if os.cpu_count() else 0  # type: ignore[operator]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def process(
    command: list[str], core: int, env: dict[str, str] | None = None, cwd: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """The command running on one core, its output in a file that is shown when it ends badly; stopped at the end."""
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(
            ["taskset", "-c", str(core), *command],
            env={**os.environ, **(env or {})},
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            start_new_session=True,
        )
        try:
            yield child
        except BaseException:
            output.seek(0)
            sys.stderr.write(output.read()[-4000:].decode("utf-8", "replace"))
            raise
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGTERM)
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()


def wait_port(port: int, child: subprocess.Popen[bytes], seconds: float = 60) -> None:
    """Return once the port accepts; raises when the process ended or the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if child.poll() is not None:
            raise RuntimeError(f"{child.args} ended with {child.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"nothing listens on port {port} after {seconds} s")


def rss_mb(pid: int) -> float:
    """Resident memory of the process and its children in megabytes."""
    total = 0
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            if folder.name == str(pid) or fields[1] == str(pid):
                total += int((folder / "statm").read_text().split()[1]) * resource.getpagesize()
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total / 1e6


def cpu_s(pid: int) -> float:
    """CPU seconds that the process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def upstream() -> Iterator[int]:
    """The mock provider, on the clients' core; its port."""
    port = free_port()
    with process([sys.executable, "-m", "tests.mock_upstream", "--port", str(port)], CLIENT_CORE) as child:
        wait_port(port, child)
        yield port


@contextlib.contextmanager
def stockyard(upstream_port: int, config: str = "") -> Iterator[tuple[int, int, str, str]]:
    """An instance with its own fresh data folder: `(port, pid, proxy key, admin key)`."""
    admin = "sy_admin_" + "b" * 43
    with tempfile.TemporaryDirectory(prefix="sybench") as data:
        port = free_port()
        if config:
            (Path(data) / "stockyard.toml").write_text(config)
        env = {
            "STOCKYARD_ADMIN_KEY": admin,
            "OPENAI_API_KEY": "sk-bench-0123456789",
            "OPENAI_BASE_URL": f"http://127.0.0.1:{upstream_port}/v1",
        }
        command = [str(Path(sys.executable).parent / "stockyard"), "serve", "--port", str(port), "--data", data]
        with process(command, SERVER_CORE, env) as child:
            wait_port(port, child)
            wait_ready(port)
            yield port, child.pid, admin, admin


def wait_ready(port: int, seconds: float = 30) -> None:
    """Return once `/ready` answers 200."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with (
            contextlib.suppress(urllib.error.URLError, ConnectionError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=2) as answer,
        ):
            if answer.status == 200:
                return
        time.sleep(0.02)
    raise RuntimeError("the server did not become ready")
