"""A tenant's container: hardened, and out of reach of others, of the machine and of metadata addresses."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Iterator

import pytest

from tests.cloud.service import Service, Tenant, docker, until
from tests.stand_ins import stand_ins, unused

pytestmark = [
    pytest.mark.slow,
    pytest.mark.docker,
    pytest.mark.parametrize("runtime", ["docker"], indirect=True, scope="session"),
]

PROBE = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).close()
    print("reached")
except OSError:
    print("nothing")
"""

LISTENER = """
import socket
server = socket.create_server(("0.0.0.0", 9999))
while True:
    server.accept()[0].close()
"""


@pytest.fixture
def host_service() -> Iterator[int]:
    """Something on the machine that listens on every address."""
    with socketserver.TCPServer(("0.0.0.0", 0), socketserver.BaseRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port: int = server.server_address[1]
        yield port
        server.shutdown()


def _inspect(service: Service, slug: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(docker("inspect", service.container(slug)))[0]
    return found


def _probe(service: Service, slug: str, address: str, port: int) -> str:
    return docker("exec", service.container(slug), "python", "-c", PROBE, address, str(port))


def _bystander_reaches(service: Service, address: str, port: int) -> bool:
    """Whether a container of somebody else on Docker's own bridge gets there."""
    image = json.loads(docker("inspect", service.container("acme")))[0]["Config"]["Image"]
    command = ("run", "--rm", "--network", "bridge", "--entrypoint", "python", image, "-c", PROBE, address, str(port))
    return docker(*command) == "reached"


def _network(service: Service, slug: str) -> dict[str, str]:
    networks = _inspect(service, slug)["NetworkSettings"]["Networks"]  # type: ignore[index]
    found: dict[str, str] = next(iter(networks.values()))
    return found


def test_its_hardening_shows_in_docker_inspect(service: Service, acme: Tenant) -> None:
    seen = _inspect(service, "acme")
    host = seen["HostConfig"]
    assert isinstance(host, dict)
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert any(option.startswith("no-new-privileges") for option in host["SecurityOpt"])
    assert host["Memory"] > 0
    assert host["NanoCpus"] > 0 or host["CpuQuota"] > 0
    assert 0 < host["PidsLimit"] <= 4096
    assert host["Privileged"] is False
    assert not host["PortBindings"]
    assert seen["Config"]["User"].startswith("10001")  # type: ignore[index]
    assert acme.api_key not in json.dumps(seen)
    assert "sy_inst_" not in json.dumps(seen)


def test_it_reaches_no_service_of_the_machine(service: Service, acme: Tenant, host_service: int) -> None:
    gateway = _network(service, "acme")["Gateway"]
    socket.create_connection((gateway, host_service), 5).close()  # it is there, for whoever may reach it
    assert _probe(service, "acme", gateway, host_service) == "nothing"


@pytest.mark.parametrize("range_", ["169.254.169.254", "10.", "192.168."])
def test_it_reaches_no_metadata_address_and_no_private_network(service: Service, acme: Tenant, range_: str) -> None:
    address = unused(range_) if range_.endswith(".") else range_
    with stand_ins([address]) as port:
        assert _bystander_reaches(service, address, port), "a container without the firewall's rules reaches it"
        assert _probe(service, "acme", address, port) == "nothing"


def test_it_has_no_ipv6_by_which_it_could_go_round_the_rules(service: Service, acme: Tenant) -> None:
    networks = json.loads(docker("network", "inspect", "stockyard"))
    assert networks[0]["EnableIPv6"] is False
    said = docker("exec", service.container("acme"), "cat", "/proc/net/if_inet6")
    assert {line.split()[-1] for line in said.splitlines()} <= {"lo"}


def test_it_reaches_no_other_tenant(service: Service, acme: Tenant) -> None:
    service.create("neighbour")
    own_address = _network(service, "neighbour")["IPAddress"]
    docker("exec", "-d", service.container("neighbour"), "python", "-c", LISTENER)
    until(lambda: _probe(service, "neighbour", own_address, 9999) == "reached", "the neighbour listens")
    assert _probe(service, "acme", own_address, 9999) == "nothing"
