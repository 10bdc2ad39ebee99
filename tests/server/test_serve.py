"""The server as a process: started, called, stopped, killed."""

from __future__ import annotations

import shutil
import signal
import socket
import sqlite3
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from tests.opened import INSTANCE_KEY, instance_file
from tests.server.process import CALL, DEADLINE_S, Server, environment, serving, unix_client

pytestmark = pytest.mark.slow


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name, as a socket's path has at most 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="sy"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def arguments(folder: Path, *more: str) -> list[str]:
    return ["--data", str(folder / "data"), *(more or ("--port", "0"))]


def test_first_boot_prints_keys_once_and_a_call_that_works(folder: Path) -> None:
    with serving(arguments(folder), folder / "log") as server:
        url = server.wait_until_said(r"Stockyard is at (http://127\.0\.0\.1:\d+)")[1]
        key = server.key("proxy")
        assert f"curl {url}/v1/chat/completions -H 'Authorization: Bearer {key}'" in server.said()
        answer = httpx2.post(f"{url}/v1/chat/completions", json=CALL, headers={"authorization": f"Bearer {key}"})
        assert answer.json()["choices"][0]["message"]["content"] == "echo: hi"
        assert server.stop() == 0
    with serving(arguments(folder), folder / "log2") as again:
        again.wait_until_said("Stockyard is at")
        assert "sk-sy-" not in again.said()


def test_the_printed_curl_works_as_it_stands(folder: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl here")
    import subprocess

    with serving(arguments(folder, "--uds", str(folder / "s.sock")), folder / "log") as server:
        command = server.wait_until_said(r"(?s)(curl .*\}')")[1]
        answer = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, timeout=DEADLINE_S)
    assert "echo: Hello" in answer.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_exit_code_0_and_leaves_no_socket(folder: Path, number: signal.Signals) -> None:
    path = folder / "s.sock"
    with serving(arguments(folder, "--uds", str(path)), folder / "log") as server:
        server.wait_until_said("Stockyard is at unix:")
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert server.stop(number) == 0
    assert not path.exists()
    assert not (folder / "data" / "address").exists()
    assert "Traceback" not in server.said()


def test_a_running_call_finishes_after_the_signal_and_is_recorded(folder: Path) -> None:
    path = folder / "s.sock"
    with serving(arguments(folder, "--uds", str(path)), folder / "log") as server:
        server.wait_until_said("Stockyard is at")
        answers: list[httpx2.Response] = []

        def call() -> None:
            with unix_client(path, server.key("proxy")) as client:
                body = {**CALL, "stream": True, "mock": {"tokens": 20, "tokens_per_s": 20}}
                with client.stream("POST", "/v1/chat/completions", json=body) as answer:
                    started.set()
                    answer.read()
                    answers.append(answer)

        started = threading.Event()
        caller = threading.Thread(target=call)
        caller.start()
        assert started.wait(DEADLINE_S)
        assert server.stop() == 0
        caller.join(DEADLINE_S)
    assert answers[0].text.endswith("data: [DONE]\n\n")
    with closing(sqlite3.connect(folder / "data" / "stockyard.db")) as connection:
        assert connection.execute("SELECT status, stream FROM traces").fetchall() == [("ok", 1)]


def test_a_socket_that_a_dead_process_left_is_replaced(folder: Path) -> None:
    path = folder / "s.sock"
    with serving(arguments(folder, "--uds", str(path)), folder / "log") as server:
        server.wait_until_said("Stockyard is at")
        server.process.kill()
        server.process.wait(DEADLINE_S)
    assert path.exists()
    with serving(arguments(folder, "--uds", str(path)), folder / "log2") as again:
        again.wait_until_said("Stockyard is at")
        with unix_client(path) as client:
            assert client.get("/ready").status_code == 200


def test_a_file_that_is_no_socket_is_left_alone(folder: Path) -> None:
    path = folder / "precious"
    path.write_text("keep")
    with serving(arguments(folder, "--uds", str(path)), folder / "log") as server:
        assert server.process.wait(DEADLINE_S) == 1
    assert path.read_text() == "keep"
    assert "is not a socket" in server.said()


def test_an_address_in_use_is_said_plainly(folder: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with serving(arguments(folder, "--port", str(port)), folder / "log") as server:
            assert server.process.wait(DEADLINE_S) == 1
    assert f"127.0.0.1:{port} cannot be listened on" in server.said()
    assert "Traceback" not in server.said()


def test_a_second_server_on_the_same_folder_is_refused(folder: Path) -> None:
    with serving(arguments(folder), folder / "log") as first:
        first.wait_until_said("Stockyard is at")
        with serving(arguments(folder), folder / "log2") as second:
            assert second.process.wait(DEADLINE_S) == 1
        assert "in use by process" in second.said()


@pytest.mark.parametrize(("host", "accepted"), [("127.0.0.1", True), ("0.0.0.0", False)])
def test_open_listens_on_loopback_only(folder: Path, host: str, accepted: bool) -> None:
    with serving(arguments(folder, "--open", "--host", host, "--port", "0"), folder / "log") as server:
        if not accepted:
            assert server.process.wait(DEADLINE_S) == 1
            assert "loopback only" in server.said()
            return
        url = server.wait_until_said(r"at (http://\S+)")[1]
        assert httpx2.post(f"{url}/v1/chat/completions", json=CALL).status_code == 200
        assert httpx2.get(f"{url}/api/config").status_code == 200


def test_a_wrong_setting_is_named_before_anything_is_served(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "stockyard.toml").write_text("[limits]\nmesages = 5\n")
    with serving(arguments(folder), folder / "log") as server:
        assert server.process.wait(DEADLINE_S) == 1
    assert "did you mean limits.messages" in server.said()


def _hosted(folder: Path) -> Server:
    env = {"STOCKYARD_INSTANCE_FILE": str(instance_file(folder))}
    return Server(arguments(folder, "--uds", str(folder / "s.sock")), folder / "log", env)


def test_usage_is_exact_after_kill_9(folder: Path) -> None:
    key = "sk-sy-" + "a" * 43
    import hashlib

    pushed = {"id": 1, "sha256": hashlib.sha256(key.encode()).hexdigest(), "kind": "proxy"}
    state = {"generation": {"incarnation": 1, "number": 1}, "keys": [pushed]}
    path = folder / "s.sock"
    answered = 0
    for round_number in range(3):
        server = _hosted(folder)
        try:
            wait_for_socket(path, server)
            with unix_client(path, INSTANCE_KEY) as plane, unix_client(path, key) as caller:
                if round_number == 0:
                    assert plane.put("/api/instance/state", json=state).status_code == 200
                usage = plane.get("/api/instance/usage").json()
                assert (usage["requests"], usage["by_key"].get("1", {}).get("requests", 0)) == (answered, answered)
                for _ in range(15):
                    assert caller.post("/v1/chat/completions", json=CALL).status_code == 200
                    answered += 1
        finally:
            server.process.kill()
            server.process.wait(DEADLINE_S)


def wait_for_socket(path: Path, server: Server) -> None:
    """Wait until something answers on the socket."""
    import time

    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        assert server.process.poll() is None, server.said()
        try:
            with unix_client(path) as client:
                if client.get("/ready").status_code == 200:
                    return
        except httpx2.TransportError:
            time.sleep(0.01)
    raise AssertionError("nothing answered")


def test_a_hosted_instance_prints_no_key(folder: Path) -> None:
    server = _hosted(folder)
    try:
        server.wait_until_said("Stockyard is at")
        assert server.stop() == 0
    finally:
        server.process.kill()
    assert "Keys" not in server.said()


def test_nothing_of_fastapi_is_loaded_before_it_is_needed(folder: Path) -> None:
    import subprocess
    import sys

    program = "import sys, instance.server; print([m for m in ('fastapi', 'starlette', 'typer', 'httpx2') if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=environment({}),
        timeout=DEADLINE_S,
    )
    assert found.stdout.strip() == "[]"
