"""The check-up of a running service: content while all is well, and each part that stops working is found."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import Any

import pytest

from tests.cloud.service import COMMAND, Service, Tenant, until

pytestmark = pytest.mark.slow


def examined(service: Service) -> dict[str, dict[str, Any]]:
    """What the command finds, the worst of each name."""
    done = subprocess.run(
        [COMMAND, "doctor", "--json"], env=service.environment, capture_output=True, text=True, timeout=120, check=False
    )
    report = json.loads(done.stdout)
    assert done.returncode == (0 if report["ok"] else 1)
    found: dict[str, dict[str, Any]] = {}
    for check in report["checks"]:
        if check["name"] not in found or not check["ok"]:
            found[check["name"]] = check
    return found


def bad(service: Service) -> set[str]:
    return {name for name, check in examined(service).items() if check["level"] == "bad"}


def test_while_all_is_well_nothing_is_bad_and_everything_was_looked_at(service: Service, acme: Tenant) -> None:
    acme.say("hello")
    until(lambda: bad(service) <= {"clock", "disk", "disk_growth", "inodes"}, "the machine's own troubles at most")
    found = examined(service)
    for name in ("ledger", "database", "edge", "activator", "litestream", "replica_store", "secrets", "sockets"):
        assert found[name]["level"] == "ok", found[name]
    if service.runtime == "docker":
        assert (found["engine"]["level"], found["firewall"]["level"], found["image"]["level"]) == ("ok", "ok", "ok")


@pytest.mark.parametrize("part", ["edge", "activator", "litestream"])
def test_a_part_that_hangs_with_its_socket_in_place_is_found(service: Service, acme: Tenant, part: str) -> None:
    pid = service.pid(part)
    os.kill(pid, signal.SIGSTOP)
    try:
        assert part in bad(service)
        metrics = service.api("GET", "/metrics").text
        assert f'stockyard_cloud_component_up{{component="{part}"}} 0.0' in metrics
    finally:
        os.kill(pid, signal.SIGCONT)
    until(lambda: part not in bad(service), f"{part} works again")


def test_without_the_control_plane_the_command_looks_by_itself(service: Service, acme: Tenant) -> None:
    resume = service.freeze_plane()
    try:
        found = examined(service)
        assert found["reconciler"]["level"] == "bad" and "does not answer" in found["reconciler"]["seen"]
        assert (found["ledger"]["level"], found["edge"]["level"]) == ("ok", "ok")
    finally:
        resume()
    until(service.plane_answers, "the control plane is back")
