"""A whole service on this machine as an operator starts it, and what a test does to it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import openai

COMMAND = str(Path(sys.executable).with_name("stockyard-cloud"))
INSTANCE_COMMAND = str(Path(sys.executable).with_name("stockyard"))
START_DEADLINE_S = 90
DEADLINE_S = 40


def until(holds: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """What `holds` answers as soon as it is true of something."""
    end = time.monotonic() + deadline_s
    while not (found := holds()):
        assert time.monotonic() < end, f"never came about: {what}"
        time.sleep(0.05)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Tenant:
    """A tenant with its keys, called as its customers call it."""

    def __init__(self, service: Service, made: Mapping[str, Any]) -> None:
        self.service = service
        self.slug: str = made["tenant"]
        self.url: str = made["url"]
        self.root_url: str = made["root_url"]
        self.host_url: str = made["host_url"]
        self.api_key: str = made["api_key"]
        self.admin_key: str = made["admin_key"]

    def openai(self, *, by_host: bool = False, key: str = "") -> openai.OpenAI:
        """The official SDK; by host name it dials loopback, as a resolver would have it for *.localhost."""
        http = openai.DefaultHttpxClient(trust_env=False)
        headers = {}
        if by_host:
            headers = {"Host": self.host_url.split("/")[2]}
        base_url = f"http://127.0.0.1:{self.service.edge_port}/v1" if by_host else self.url
        return openai.OpenAI(
            base_url=base_url,
            api_key=key or self.api_key,
            max_retries=0,
            timeout=60,
            http_client=http,
            default_headers=headers,
        )

    def say(self, text: str, **options: Any) -> str:
        """One whole call; the answer's text."""
        answer = self.openai().chat.completions.create(
            model="mock/gpt", messages=[{"role": "user", "content": text}], **options
        )
        return answer.choices[0].message.content or ""

    def get(self, path: str, key: str = "", **options: Any) -> httpx2.Response:
        """A call to the instance's own API with its admin key."""
        return self.request("GET", path, key, **options)

    def request(self, method: str, path: str, key: str = "", **options: Any) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {key or self.admin_key}"} | options.pop("headers", {})
        with httpx2.Client(trust_env=False, timeout=60) as client:
            return client.request(method, self.root_url + path, headers=headers, **options)

    def traces(self) -> list[dict[str, Any]]:
        """The instance's calls, oldest first, as soon as they are in its database."""
        found: list[dict[str, Any]] = self.get("/api/observe/traces?limit=500").json()["traces"]
        return found[::-1]

    def all_traces(self) -> list[dict[str, Any]]:
        """Every call that is in the instance's database, page by page."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            answer = self.get(f"/api/observe/traces?limit=500{cursor}")
            assert answer.status_code == 200, answer.text
            page = answer.json()
            found += page["traces"]
            if not page["has_more"]:
                return found
            cursor = f"&cursor={page['next_cursor']}"

    def answers(self) -> bool:
        """True if a call is answered now."""
        try:
            return self.say("there") == "echo: there"
        except openai.APIError:
            return False

    def trace(self, trace_id: str) -> dict[str, Any]:
        def recorded() -> dict[str, Any] | None:
            answer = self.get(f"/api/observe/traces/{trace_id}")
            return answer.json() if answer.status_code == 200 else None

        found: dict[str, Any] = until(recorded, f"trace {trace_id}")
        return found

    def ledger(self, event_type: str = "") -> list[dict[str, Any]]:
        query = f"&event_type={event_type}" if event_type else ""
        found: list[dict[str, Any]] = self.get(f"/api/trust/ledger?limit=1000{query}").json()["events"]
        return found

    def ledger_verdict(self) -> dict[str, Any]:
        found: dict[str, Any] = self.get("/api/trust/ledger/verify").json()
        return found

    def show(self) -> dict[str, Any]:
        found: dict[str, Any] = self.service.cli("tenants", "show", self.slug)
        return found

    def becomes(self, status: str) -> None:
        until(lambda: self.show()["status"] == status, f"{self.slug} is {status}")

    @property
    def volume(self) -> Path:
        return self.service.data / "tenants" / self.slug


class Service:
    """`stockyard-cloud up` in a data folder and on ports of its own."""

    def __init__(self, runtime: str, **settings: str) -> None:
        self.runtime = runtime
        self.data = Path(tempfile.mkdtemp(prefix="sy"))
        self.port, self.edge_port = free_port(), free_port()
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("STOCKYARD_")} | {
            "STOCKYARD_CLOUD_DATA": str(self.data),
            "STOCKYARD_CLOUD_LISTEN": f"127.0.0.1:{self.port}",
            "STOCKYARD_CLOUD_EDGE_LISTEN": f"127.0.0.1:{self.edge_port}",
            "STOCKYARD_CLOUD_RUNTIME": runtime,
            "STOCKYARD_CLOUD_URL": f"http://127.0.0.1:{self.port}",
            **settings,
        }
        if image := os.environ.get("STOCKYARD_TEST_IMAGE"):
            self.environment["STOCKYARD_CLOUD_IMAGE"] = image
        self.process: subprocess.Popen[str] | None = None

    def start(self, *arguments: str) -> str:
        """Start it; what it printed once it was up."""
        self.process = subprocess.Popen(
            [COMMAND, "up", *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout is not None
        said = []
        for line in self.process.stdout:
            said.append(line)
            if "Ctrl-C" in line:
                return "".join(said)
        raise AssertionError(f"`up` ended: {''.join(said)}\n{self.logs()}")

    def stop(self, how: int = signal.SIGTERM) -> int:
        """End it as Ctrl-C or an init does; its exit code."""
        assert self.process is not None and self.process.stdout is not None
        self.process.send_signal(how)
        code = self.process.wait(60)
        self.process.stdout.close()
        self.process = None
        return code

    def kill(self) -> None:
        """Kill the supervisor and its four parts at once; only the instances go on."""
        assert self.process is not None and self.process.stdout is not None
        parts = json.loads((self.data / "run" / "up.json").read_text())
        self.process.kill()
        for pid, _ in parts.values():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(10)
        self.process.stdout.close()
        self.process = None

    def remove(self) -> None:
        """End it if it runs, and remove all that it kept."""
        if self.process is not None:
            self.stop()
        shutil.rmtree(self.data, ignore_errors=True)

    def cli(self, *arguments: str) -> Any:
        """A verb of the command with --json."""
        done = subprocess.run(
            [COMMAND, *arguments, "--json"],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout)

    def create(self, slug: str) -> Tenant:
        """A new tenant, as soon as it answers."""
        tenant = Tenant(self, self.cli("tenants", "create", slug))
        tenant.becomes("running")
        return tenant

    def open(self, slug: str, **body: Any) -> Tenant:
        """A new tenant, as soon as the control plane knows it; its instance is still to come."""
        answer = self.api("POST", "/api/tenants", json={"slug": slug, **body})
        assert answer.status_code == 201, answer.text
        made = answer.json()
        return Tenant(self, made | {"tenant": made["slug"]})

    def api(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """The control plane's API as its operator."""
        key = (self.data / "operator.key").read_text().strip()
        with httpx2.Client(trust_env=False, timeout=60) as client:
            return client.request(
                method,
                f"http://127.0.0.1:{self.port}{path}",
                headers={"Authorization": f"Bearer {key}"},
                **options,
            )

    def pid(self, name: str) -> int:
        """Of one of the four processes."""
        pid: int = json.loads((self.data / "run" / "up.json").read_text())[name][0]
        return pid

    def freeze_plane(self) -> Callable[[], None]:
        """Kill the control plane and keep it from coming back; call the answer to let it."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)  # the supervisor starts nothing meanwhile
        supervisor = self.process
        os.kill(self.pid("serve"), signal.SIGKILL)
        until(lambda: not self.plane_answers(), "the control plane is gone")
        return lambda: supervisor.send_signal(signal.SIGCONT)

    def plane_answers(self) -> bool:
        try:
            with httpx2.Client(trust_env=False, timeout=2) as client:
                return client.get(f"http://127.0.0.1:{self.port}/ready").status_code == 200
        except httpx2.TransportError:
            return False

    def sync(self, slug: str) -> None:
        """Have Litestream copy everything that the tenant's database holds now."""
        database = self.data / "tenants" / slug / "stockyard.db"
        transport = httpx2.HTTPTransport(uds=str(self.data / "run" / "litestream.sock"))
        with httpx2.Client(transport=transport, timeout=30) as client:
            answer = client.post("http://litestream/sync", json={"path": str(database), "wait": True, "timeout": 20})
        assert answer.status_code == 200, answer.text

    def instance_pid(self, slug: str) -> int:
        """The process of a tenant's instance, as the machine sees it."""
        if self.runtime == "docker":
            return int(docker("inspect", "--format", "{{.State.Pid}}", self.container(slug)))
        found = json.loads(next((self.data / "run" / "instances").glob(f"{slug}*")).read_text())
        pid: int = found["pid"]
        return pid

    def container(self, slug: str) -> str:
        """The container of a tenant."""
        owner, name = f"label=stockyard.owner={self.data}", f"label=stockyard.slug={slug}"
        return docker("ps", "-aq", "--filter", owner, "--filter", name)

    def logs(self) -> str:
        """The end of every log, for a failing test."""
        files = sorted((self.data / "logs").rglob("*.log"))
        return "\n".join(f"== {file}\n{file.read_text('utf-8', 'replace')[-2000:]}" for file in files)


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
