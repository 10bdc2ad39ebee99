"""The process `stockyard-cloud serve`: how it starts, ends, and refuses to start."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
DEADLINE_S = 30
KEY = "sy_op_for-these-tests-only"


def _serve(data: Path, port: int) -> subprocess.Popen[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("STOCKYARD_")}
    env["STOCKYARD_CLOUD_OPERATOR_KEY"] = KEY
    command = [sys.executable, "-m", "control_plane.cli", "serve", "--data", str(data)]
    command += ["--listen", f"127.0.0.1:{port}"]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _ask(port: int, method: str, path: str, accept: str = "*/*", body: str | None = None) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    headers = {"Authorization": f"Bearer {KEY}", "Accept": accept, "Content-Type": "application/json"}
    connection.request(method, path, body, headers)
    return connection.getresponse()


def _await_ready(process: subprocess.Popen[str], port: int) -> None:
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end and process.poll() is None:
        try:
            if _ask(port, "GET", "/ready").status == 200:
                return
        except OSError:
            pass
        time.sleep(0.05)
    process.kill()
    pytest.fail(f"not ready: {process.communicate()}")


@pytest.fixture
def port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


@pytest.fixture
def served(tmp_path: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """A control plane that is ready, on the process runtime."""
    process = _serve(tmp_path, port)
    _await_ready(process, port)
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()


def test_sigterm_ends_it_with_0_also_while_somebody_follows_events(served: subprocess.Popen[str], port: int) -> None:
    assert _ask(port, "POST", "/api/reconciler/pause").status == 200  # so that no instance is started
    assert _ask(port, "POST", "/api/tenants", body='{"slug": "acme"}').status == 201
    stream = _ask(port, "GET", "/api/tenants/acme/events", accept="text/event-stream")
    assert stream.readline() == b": open\n"
    served.send_signal(signal.SIGTERM)
    assert served.wait(DEADLINE_S) == 0


def test_killed_and_started_again_it_goes_on_with_the_same_keys(
    served: subprocess.Popen[str], tmp_path: Path, port: int
) -> None:
    assert _ask(port, "POST", "/api/reconciler/pause").status == 200
    assert _ask(port, "POST", "/api/tenants", body='{"slug": "acme"}').status == 201
    assert _ask(port, "DELETE", "/api/tenants/acme").status == 202
    served.kill()
    served.wait(DEADLINE_S)
    again = _serve(tmp_path, port)
    try:
        _await_ready(again, port)
        assert b'"desired":"deleted"' in _ask(port, "GET", "/api/tenants/acme").read().replace(b" ", b"")
        assert b'"valid":true' in _ask(port, "GET", "/api/ledger/verify").read().replace(b" ", b"")
    finally:
        again.terminate()
        assert again.wait(DEADLINE_S) == 0
        again.communicate()


def test_a_port_that_is_taken_is_named_and_ends_it_with_1(tmp_path: Path, port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        process = _serve(tmp_path, port)
        _, told = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert str(port) in told
    assert "Traceback" not in told


def test_a_second_control_plane_on_the_same_data_is_refused(
    served: subprocess.Popen[str], tmp_path: Path, port: int
) -> None:
    second = _serve(tmp_path, port + 1)
    _, told = second.communicate(timeout=DEADLINE_S)
    assert second.returncode == 1
    assert "another control plane" in told


def test_a_lost_master_key_is_named_and_ends_it_with_1(tmp_path: Path, port: int) -> None:
    (tmp_path / "control.db").write_bytes(b"rows")
    process = _serve(tmp_path, port)
    _, told = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert "put the master key back" in told
    assert "Traceback" not in told
