"""What somebody with root does to a tenant's parts is mended by itself: on real processes, sockets and Litestream."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import httpx2
import pytest

from control_plane.runtimes import docker_network
from tests.cloud.service import Service, Tenant, docker, until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def harmed(service: Service) -> Tenant:
    tenant = service.create("harmed")
    assert tenant.say("first") == "echo: first"
    return tenant


def _link(tenant: Tenant) -> Path:
    return tenant.service.data / "run" / "edge" / f"{tenant.slug}.sock"


def _is_whole(tenant: Tenant) -> bool:
    observed = tenant.show()["observed"]
    return observed is not None and observed["linked"] and observed["ready"] and observed["registered"] is not None


def test_a_removed_link_is_made_again_without_a_restart(harmed: Tenant) -> None:
    pid = harmed.service.instance_pid("harmed")
    _link(harmed).unlink()
    until(_link(harmed).exists, "it is routed again")
    assert harmed.say("again") == "echo: again"
    assert harmed.service.instance_pid("harmed") == pid


def test_a_link_to_something_else_is_replaced(harmed: Tenant) -> None:
    own = harmed.service.data / "run" / "tenants" / "harmed" / "own.sock"
    _link(harmed).unlink()
    _link(harmed).touch()
    until(lambda: _link(harmed).exists() and _link(harmed).samefile(own), "it is routed to its own socket")
    assert harmed.say("again") == "echo: again"


def test_one_frozen_by_hand_goes_on(harmed: Tenant) -> None:
    """Frozen as its runtime freezes: a container of which only the process is stopped is begun anew, as one that hangs."""
    pid = harmed.service.instance_pid("harmed")
    if harmed.service.runtime == "docker":
        container = harmed.service.container("harmed")
        docker("pause", container)
        until(lambda: docker("inspect", "-f", "{{.State.Paused}}", container) == "false", "it goes on")
    else:
        os.killpg(pid, signal.SIGSTOP)
        until(
            lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("T", "t"), "it goes on"
        )
    until(lambda: _is_whole(harmed), "it is whole")
    assert harmed.service.instance_pid("harmed") == pid


def test_a_lost_registration_is_made_again(harmed: Tenant) -> None:
    transport = httpx2.HTTPTransport(uds=str(harmed.service.data / "run" / "litestream.sock"))
    database = harmed.volume / "stockyard.db"
    with httpx2.Client(transport=transport, timeout=30, base_url="http://litestream") as client:
        client.post("/unregister", json={"path": str(database), "timeout": 10})

        def copied() -> bool:
            return str(database) in {each["path"] for each in client.get("/list").json()["databases"]}

        until(copied, "it is copied again")


def test_a_removed_data_folder_is_restored_from_its_backup(harmed: Tenant) -> None:
    before = {trace["id"] for trace in harmed.traces()}
    harmed.service.sync("harmed")
    epoch = harmed.show()["epoch"]
    shutil.rmtree(harmed.volume)
    until(lambda: harmed.show()["epoch"] > epoch and _is_whole(harmed), "it runs on its restored database")
    assert before <= {trace["id"] for trace in harmed.traces()}
    assert harmed.ledger_verdict()["valid"]


def test_a_firewall_rule_that_somebody_removed_is_put_back(harmed: Tenant) -> None:
    if harmed.service.runtime != "docker":
        pytest.skip("processes have no network of their own")
    before = _rules()
    subprocess.run(["iptables", "-w", "-D", docker_network.FORWARD_CHAIN, "1"], check=True, timeout=20)
    assert _rules() != before
    until(lambda: _rules() == before, "the rules are whole")


def _rules() -> str:
    said = subprocess.run(
        ["iptables", "-w", "-S", docker_network.FORWARD_CHAIN], capture_output=True, text=True, check=True, timeout=20
    )
    return said.stdout
