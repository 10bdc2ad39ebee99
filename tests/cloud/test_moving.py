"""A customer comes from their own machine, stays a while, and leaves again: nothing on the way ties them."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import openai
import orjson
import pytest

from control_plane.api.frame import Frame
from control_plane.app import api_app
from control_plane.config import Config, load_config
from control_plane.running import running_plane
from instance.core.portable import SUFFIX, pack, unpack
from tests.cloud.service import COMMAND, INSTANCE_COMMAND, Service, Tenant, free_port, until
from tests.moved import PASSPHRASE, Moved, fields, form, moved
from tests.server.process import Server, environment, serving

pytestmark = pytest.mark.slow


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


@pytest.fixture(scope="module")
def brought(tmp_path_factory: pytest.TempPathFactory) -> Moved:
    return asyncio.run(moved(tmp_path_factory.mktemp("brought")))


async def opened_but_not_begun(config: Config, brought: Moved) -> None:
    """A control plane that took three imports and went away before it did anything about them."""
    config.prepare()
    async with running_plane(config, reconcile=False, env={}) as plane:
        key = config.operator_key_file.read_text().strip()
        transport = httpx2.ASGITransport(Frame(api_app(plane)))
        async with httpx2.AsyncClient(transport=transport, base_url="http://plane") as client:
            for number, slug in enumerate(("healed", "broken", "lost")):
                content = _with_other_keys(brought, config.data / f"{slug}.tmp", number)
                body, headers = form(fields(slug), content)
                headers["Authorization"] = f"Bearer {key}"
                answer = await client.post("/api/tenants", content=body, headers=headers)
                assert answer.status_code == 201, answer.text


def _with_other_keys(brought: Moved, database: Path, number: int) -> bytes:
    """The same file with keys of its own: one digest belongs to one tenant."""
    with brought.file.open("rb") as file:
        found = unpack(file, PASSPHRASE, database)
    other = [key | {"sha256": sha256(f"{number}{key['sha256']}".encode()).hexdigest()} for key in found.keys]
    keys = other if number else found.keys
    return b"".join(pack(replace(found, keys=keys), database, PASSPHRASE).chunks())


def test_a_plane_that_was_killed_after_an_import_finishes_it_or_says_what_is_wrong(brought: Moved) -> None:
    service = Service("process")
    config = load_config({"data": service.data}, {})
    asyncio.run(opened_but_not_begun(config, brought))
    with closing(sqlite3.connect(config.tenants_dir / "broken.staged" / "stockyard.db")) as connection, connection:
        connection.execute("UPDATE ledger SET actor = 'somebody else' WHERE seq = 1")
    shutil.rmtree(config.tenants_dir / "lost.staged")
    orphan = config.tenants_dir / "orphan.staged"
    orphan.mkdir()
    try:
        service.start()
        tenants = {slug: _known(service, slug, brought) for slug in ("healed", "broken", "lost")}
        tenants["healed"].becomes("running")
        assert say(tenants["healed"].url, brought.api_key, "here") == "echo: here"
        assert len(until(lambda: _some(tenants["healed"].traces(), 3), "old and new calls are there")) == 3
        for slug in ("broken", "lost"):
            tenants[slug].becomes("failed")
            shown = tenants[slug].show()
            assert shown["reason"] == "backup_unreadable"
            events = service.cli("tenants", "events", slug)["events"]
            assert any("imported" in row["message"] or "verify" in row["message"] for row in events)
            service.cli("tenants", "wake", slug, "--no-wait")  # which asks again, and gets no empty one
            until(partial(_failed_again, service, slug), "it is failed again")
            assert service.cli("tenants", "delete", slug, "--yes", "--grace-s", "0")["desired"] == "deleted"
            until(partial(_is_gone, service, slug), "it is gone")
        assert not orphan.exists()
    except AssertionError:
        print(service.logs())
        raise
    finally:
        service.remove()


def _known(service: Service, slug: str, brought: Moved) -> Tenant:
    shown = service.cli("tenants", "show", slug)
    keys = {"tenant": slug, "api_key": brought.api_key, "admin_key": brought.admin_key}
    return Tenant(service, shown | keys)


def _some(rows: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    return rows if len(rows) == count else []


def _is_gone(service: Service, slug: str) -> bool:
    return service.api("GET", f"/api/tenants/{slug}").status_code == 404


def _failed_again(service: Service, slug: str) -> bool:
    rows = service.cli("tenants", "events", slug)["events"]
    woken = next(row["id"] for row in rows if row["kind"] == "tenant.wake")
    return any(row["id"] > woken and row["kind"] == "restore.failed" for row in rows)


@pytest.mark.parametrize("moment", ["moving/*", "moving/*/uploaded", "moving/*/stockyard.db", "tenants/*.staged"])
def test_a_plane_killed_in_the_middle_of_an_import_has_it_whole_or_not_at_all(
    service: Service, brought: Moved, tmp_path: Path, passphrase_file: Path, moment: str
) -> None:
    slug = "middle-" + str(abs(hash(moment)) % 10**6)
    file = tmp_path / f"large{SUFFIX}"
    _enlarged(brought, file, tmp_path / "large.db", salt=slug)
    arguments = ["tenants", "import", slug, str(file), "--passphrase-file", str(passphrase_file), "--no-wait", "--json"]
    with subprocess.Popen(
        [COMMAND, *arguments], env=service.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as importing:
        until(lambda: list(service.data.glob(moment)) or importing.poll() is not None, f"{moment} is there")
        os.kill(service.pid("serve"), signal.SIGKILL)
        importing.wait(60)
    until(lambda: service.plane_answers(), "the control plane is back")
    assert list((service.data / "moving").glob("*")) == []
    if service.api("GET", f"/api/tenants/{slug}").status_code == 404:
        assert not list(service.data.glob(f"tenants/{slug}*"))
        service.cli(*arguments[:-1])
    until(lambda: service.cli("tenants", "show", slug)["status"] == "running", f"{slug} runs")
    kinds = [row["kind"] for row in service.cli("tenants", "events", slug)["events"]]
    assert kinds.count("tenant.create") == kinds.count("restore.done") == 1


def _enlarged(brought: Moved, file: Path, database: Path, salt: str) -> None:
    """The same instance with 60 MB more in its database, and with keys of its own."""
    with brought.file.open("rb") as stream:
        found = unpack(stream, PASSPHRASE, database)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE ballast (content BLOB)")
        connection.executemany("INSERT INTO ballast VALUES (?)", [(os.urandom(1 << 20),) for _ in range(60)])
    keys = [key | {"sha256": sha256((salt + key["sha256"]).encode()).hexdigest()} for key in found.keys]
    with file.open("wb") as target:
        target.writelines(pack(replace(found, keys=keys), database, PASSPHRASE).chunks())


def test_a_tenant_leaves_in_whichever_state_it_is(service: Service, tmp_path: Path, passphrase_file: Path) -> None:
    tenant = service.create("leaver")
    tenant.say("while awake")
    for state, ask in (("running", ""), ("asleep", "sleep"), ("suspended", "suspend")):
        if ask:
            service.cli("tenants", ask, "leaver")
        tenant.becomes(state)
        file = tmp_path / f"{state}{SUFFIX}"
        service.cli("tenants", "export", "leaver", str(file), "--passphrase-file", str(passphrase_file))
        assert tenant.show()["status"] == state
        with file.open("rb") as stream:
            found = unpack(stream, PASSPHRASE, tmp_path / f"{state}.db")
        assert (found.source.name, len(found.keys)) == ("leaver", 2)
        with closing(sqlite3.connect(tmp_path / f"{state}.db")) as connection:
            assert connection.execute("SELECT count(*) FROM traces").fetchone() == (1,)
    assert list((service.data / "moving").glob("*")) == []
    headers = {"Authorization": "Bearer " + (service.data / "operator.key").read_text().strip()}
    headers["X-Stockyard-Passphrase"] = PASSPHRASE
    url = f"http://127.0.0.1:{service.port}/api/tenants/leaver/export"
    answer = httpx2.get(url, headers=headers, trust_env=False, timeout=60)
    assert answer.headers["content-disposition"] == 'attachment; filename="leaver.stockyard"'
    assert unpack(io.BytesIO(answer.content), PASSPHRASE, tmp_path / "got.db").source.name == "leaver"
