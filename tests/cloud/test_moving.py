"""A customer comes from their own machine, stays a while, and leaves again: nothing on the way ties them."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import openai
import orjson
import pytest

from instance.core.portable import SUFFIX
from tests.cloud.service import INSTANCE_COMMAND, Service, Tenant, free_port, until
from tests.server.process import Server, environment, serving

pytestmark = pytest.mark.slow

PASSPHRASE = "correct horse battery"


@pytest.fixture(scope="module")
def runtime() -> str:
    """The same on every engine: the file is written and read by the control plane."""
    return "process"


@pytest.fixture(scope="module")
def service(runtime: str) -> Iterator[Service]:
    service = Service(runtime)
    service.start()
    yield service
    service.remove()


@pytest.fixture
def passphrase_file(tmp_path: Path) -> Path:
    file = tmp_path / "passphrase"
    file.write_text(PASSPHRASE + "\n")
    return file


class Provider(BaseHTTPRequestHandler):
    """Answers those who have its key."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        good = self.headers["authorization"] == "Bearer own-provider-key-1"
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "own answer"}}
        body = orjson.dumps({"id": "c", "object": "chat.completion", "model": "m", "choices": [choice]} if good else {})
        self.send_response(200 if good else 401)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def provider() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


class Home:
    """An instance on one's own machine, called as its owner calls it."""

    def __init__(self, data: Path, server: Server, port: int, api_key: str, admin_key: str) -> None:
        self.data, self.server = data, server
        self.root, self.api_key, self.admin_key = f"http://127.0.0.1:{port}", api_key, admin_key

    def api(self, method: str, path: str, **options: Any) -> httpx2.Response:
        with httpx2.Client(trust_env=False, timeout=30) as client:
            headers = {"Authorization": f"Bearer {self.admin_key}"}
            return client.request(method, self.root + path, headers=headers, **options)

    def traces(self) -> set[str]:
        return {each["id"] for each in self.api("GET", "/api/observe/traces?limit=500").json()["traces"]}


@contextmanager
def home(data: Path, api_key: str = "", admin_key: str = "") -> Iterator[Home]:
    port = free_port()
    arguments = ["--port", str(port)]
    with serving(arguments, data.with_suffix(".log"), {"STOCKYARD_DATA": str(data)}) as server:
        own = Home(data, server, port, api_key, admin_key)
        until(lambda: _answers(own), "the instance answers")
        own.api_key, own.admin_key = api_key or server.key("proxy"), admin_key or server.key("admin")
        yield own
        assert server.stop() == 0, server.said()


def _answers(own: Home) -> bool:
    try:
        return httpx2.get(own.root + "/health", trust_env=False, timeout=5).status_code == 200
    except httpx2.TransportError:
        return False


def say(base_url: str, key: str, text: str, model: str = "mock/gpt") -> str:
    """One call by the official SDK."""
    http = openai.DefaultHttpxClient(trust_env=False)
    with openai.OpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=60, http_client=http) as client:
        answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}])
    return answer.choices[0].message.content or ""


def stockyard(data: Path, *arguments: str, code: int = 0) -> str:
    """A verb of the instance's own command."""
    done = subprocess.run(
        [INSTANCE_COMMAND, *arguments, "--data", str(data)],
        env=environment({}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_from_home_to_the_cloud_and_home_again(service: Service, tmp_path: Path, passphrase_file: Path) -> None:
    out, back = tmp_path / f"out{SUFFIX}", tmp_path / f"back{SUFFIX}"
    given = ("--passphrase-file", str(passphrase_file))
    with provider() as own_provider:
        with home(tmp_path / "first") as own:
            assert say(own.root + "/v1", own.api_key, "at home") == "echo: at home"
            body = {"name": "own", "type": "openai", "base_url": own_provider, "api_key": "own-provider-key-1"}
            assert own.api("POST", "/api/proxy/providers", json=body).status_code == 201
            assert say(own.root + "/v1", own.api_key, "hello", "own/m") == "own answer"
            until(lambda: len(own.traces()) == 2, "the calls are in the traces")
            at_home = own.traces()
            api_key, admin_key = own.api_key, own.admin_key
            stockyard(own.data, "export", str(out), *given)  # while it runs

        tenant = Tenant(service, service.cli("tenants", "import", "movers", str(out), *given))
        assert say(tenant.url, api_key, "in the cloud") == "echo: in the cloud"  # the key of home
        assert say(tenant.url, tenant.api_key, "with a new key") == "echo: with a new key"
        seen = until(lambda: _all_of(tenant, at_home, 4), "traces of home and of here are there")
        assert tenant.ledger_verdict()["valid"] is True
        assert [entry["detail"]["from"][:1] for entry in tenant.ledger("restore")] == ["r"]
        # what was called at home is not paid for here
        until(lambda: service.api("POST", "/api/tenants/movers/sleep").status_code == 202, "it is asked to sleep")
        tenant.becomes("asleep")
        assert sum(row["requests"] for row in service.cli("tenants", "usage", "movers")["usage"]) == 2

        service.cli("tenants", "export", "movers", str(back), *given)  # asleep, and stays so
        assert tenant.show()["status"] == "asleep"
        assert "tenant.export" in [row["kind"] for row in service.cli("tenants", "events", "movers")["events"]]

        said = stockyard(tmp_path / "second", "restore", str(back), *given)
        assert "movers (hosted)" in said
        with home(tmp_path / "second", tenant.api_key, admin_key) as own:
            for key in (api_key, tenant.api_key):
                assert say(own.root + "/v1", key, "home again") == "echo: home again"
            assert say(own.root + "/v1", api_key, "hello", "own/m") == "own answer"  # its sealed key opens
            until(lambda: len(own.traces()) >= len(seen) + 3, "the new calls are in the traces")
            assert seen <= own.traces()
            (tmp_path / "ledger.ndjson").write_bytes(own.api("GET", "/api/trust/export").content)
            restores = own.api("GET", "/api/trust/ledger?event_type=restore&limit=10").json()["events"]
            assert len(restores) == 2
        assert "The ledger holds" in stockyard(tmp_path, "verify", str(tmp_path / "ledger.ndjson"))


def _all_of(tenant: Tenant, known: set[str], count: int) -> set[str]:
    found = {trace["id"] for trace in tenant.traces()}
    return found if known <= found and len(found) == count else set()
