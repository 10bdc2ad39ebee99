"""Who may reach each path of a running service, and what instances inherit of its operator."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from control_plane.config import Config, load_config
from control_plane.doctor.permissions import broken_rules, secret_rules, socket_rules
from tests.cloud.conftest import CANARY
from tests.cloud.service import Service, Tenant, docker

pytestmark = pytest.mark.slow

INSTANCE = "instance"  # the user of a container; with the process runtime the operator's own
PATHS = [
    (".", 0o700, "own"),
    ("control.db", 0o600, "own"),
    ("operator.key", 0o600, "own"),
    ("master.key", 0o600, "own"),
    ("secrets", 0o700, "own"),
    ("secrets/acme", 0o700, "own"),
    ("secrets/acme/instance.json", 0o400, INSTANCE),
    ("run/activator.sock", 0o600, "own"),
    ("run/waking.sock", 0o600, "own"),
    ("run/litestream.sock", 0o600, "own"),
    ("run/tenants/acme", 0o750, INSTANCE),
    ("run/tenants/acme/own.sock", 0o660, INSTANCE),
    ("run/edge/acme.sock", 0o660, INSTANCE),
    ("tenants/acme", 0o750, INSTANCE),
    ("tenants/acme/stockyard.db", 0o640, INSTANCE),
    ("logs/control-plane.log", 0o600, "own"),
    ("logs/activator.log", 0o600, "own"),
    ("logs/edge.log", 0o600, "own"),
    ("logs/litestream.log", 0o600, "own"),
]


def owner(service: Service, whose: str) -> int:
    return 10001 if whose == INSTANCE and service.runtime == "docker" else os.geteuid()


@pytest.mark.parametrize(("path", "most", "whose"), PATHS, ids=[path for path, _, _ in PATHS])
def test_nobody_else_reaches_it(service: Service, acme: Tenant, path: str, most: int, whose: str) -> None:
    if not (service.data / path).exists():
        acme.say("wake up")  # another test may have put it to sleep
    seen = (service.data / path).stat()
    mode = stat.S_IMODE(seen.st_mode)
    assert mode & ~most == 0, f"{mode:04o}"
    assert seen.st_uid == owner(service, whose)


def test_the_doctor_looks_at_the_same_and_finds_nothing_wrong(service: Service, acme: Tenant) -> None:
    config: Config = load_config({"data": service.data, "runtime": service.runtime}, {})
    rules = [*secret_rules(config, os.geteuid()), *socket_rules(config, os.geteuid())]
    assert broken_rules(rules) == []
    looked_at = {rule.path.relative_to(service.data) for rule in rules}
    alike = {Path(path) for path, _, _ in PATHS} - {Path("run/edge/acme.sock")}
    assert {path for path in alike if path.parts[:1] != ("logs",)} <= looked_at


def test_no_instance_has_anything_of_the_operators_environment(service: Service, acme: Tenant) -> None:
    acme.say("wake up")
    assert CANARY in _environment(service.pid("serve")), "it is there to be inherited"
    found = _environment(service.instance_pid("acme"))
    assert "STOCKYARD_DATA" in found or service.runtime == "process", "a forked one shows what its template was given"
    assert "PATH=" in found
    assert CANARY not in found
    names = {line.partition("=")[0] for line in found.split("\0") if line}
    assert not {name for name in names if name.startswith(("STOCKYARD_CLOUD_", "AWS_"))}
    if service.runtime == "docker":
        assert CANARY not in docker("inspect", service.container("acme"))
        assert CANARY not in docker("exec", service.container("acme"), "cat", "/proc/1/environ")


def test_no_key_is_in_any_log_of_the_service(service: Service, acme: Tenant) -> None:
    acme.say("hello")
    acme.get("/api/config", key="sy_admin_not-a-key-of-this-tenant")
    written = b"".join(path.read_bytes() for path in (service.data / "logs").rglob("*") if path.is_file())
    operator = (service.data / "operator.key").read_text().strip()
    for key in (acme.api_key, acme.admin_key, operator):
        assert key.encode() not in written
    assert written, "there is something to be found in"


def _environment(pid: int) -> str:
    return Path(f"/proc/{pid}/environ").read_bytes().decode("utf-8", "replace")
