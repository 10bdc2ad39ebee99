"""What is particular to instances as containers: hardening, and who can reach whom."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from control_plane.runtimes import docker_network
from control_plane.runtimes.docker import DockerRuntime
from control_plane.runtimes.protocol import EngineError
from tests.runtimes.engines import Engine
from tests.stand_ins import stand_ins

pytestmark = [pytest.mark.slow, pytest.mark.docker]


def inspect(container: str) -> Any:
    said = subprocess.run(["docker", "inspect", container], capture_output=True, check=True, timeout=20)
    return json.loads(said.stdout)[0]


def inside(container: str, program: str) -> str:
    """Run a Python program in the container; what it prints."""
    command = ["docker", "exec", container, "python3", "-c", program]
    return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout.strip()


def connects(container: str, host: str, port: int) -> bool:
    program = f"import socket; socket.create_connection(({host!r}, {port}), 1.5); print('reached')"
    return inside(container, program) == "reached"


def reaches(host: str, port: int) -> bool:
    with socket.create_connection((host, port), 5):
        return True


@contextmanager
def listening_on_all_addresses() -> Iterator[int]:
    with socket.create_server(("0.0.0.0", 0)) as server:
        yield int(server.getsockname()[1])


def listed(chain: str) -> list[str]:
    said = subprocess.run(["iptables", "-w", "-S", chain], capture_output=True, text=True, check=True, timeout=20)
    return said.stdout.splitlines()


def drop_first(chain: str) -> None:
    subprocess.run(["iptables", "-w", "-D", chain, "1"], check=True, timeout=20)


async def test_a_container_is_hardened(containers: Engine) -> None:
    seen = await containers.started(containers.spec())
    found = inspect(seen.run_id)
    config, host = found["Config"], found["HostConfig"]
    assert config["User"] == "10001:10001"
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert "no-new-privileges" in host["SecurityOpt"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"], host["PidsLimit"]) == (
        1 << 28,
        1 << 28,
        500_000_000,
        128,
    )
    assert not host["Privileged"] and not found["NetworkSettings"]["Ports"]
    assert list(found["NetworkSettings"]["Networks"]) == [docker_network.NETWORK]


async def test_a_container_sees_its_own_folders_and_nothing_else_of_the_machine(containers: Engine) -> None:
    spec = containers.spec()
    seen = await containers.started(spec)
    mounts = {each["Source"]: each["RW"] for each in inspect(seen.run_id)["Mounts"]}
    assert mounts == {str(spec.data_dir): True, str(spec.socket_dir): True, str(spec.instance_file): False}


async def test_the_root_of_a_container_cannot_be_written(containers: Engine) -> None:
    seen = await containers.started(containers.spec())
    assert inside(seen.run_id, "open('/stain', 'w'); print('written')") == ""


async def test_containers_do_not_reach_each_other(containers: Engine) -> None:
    ada = await containers.started(containers.spec("ada"))
    bob = await containers.started(containers.spec("bob"))
    address = inspect(bob.run_id)["NetworkSettings"]["Networks"][docker_network.NETWORK]["IPAddress"]
    _listen_in(bob.run_id, 8000)
    assert connects(bob.run_id, "127.0.0.1", 8000)
    assert not connects(ada.run_id, address, 8000)


async def test_a_container_does_not_reach_services_of_the_host(containers: Engine) -> None:
    seen = await containers.started(containers.spec())
    gateway = inspect(seen.run_id)["NetworkSettings"]["Networks"][docker_network.NETWORK]["Gateway"]
    with listening_on_all_addresses() as port:
        assert reaches(gateway, port), "the host itself reaches it there"
        assert not connects(seen.run_id, gateway, port)


async def test_packets_to_private_and_metadata_addresses_are_dropped(containers: Engine) -> None:
    rules = listed(docker_network.FORWARD_CHAIN)
    for each in docker_network.NOT_FOR_TENANTS:
        assert any(f"-d {each} -j DROP" in rule for rule in rules)
    seen = await containers.started(containers.spec())
    with stand_ins(["169.254.169.254"]) as port:
        assert reaches("169.254.169.254", port), "the host itself reaches it"
        assert not connects(seen.run_id, "169.254.169.254", port)


async def test_the_rules_are_mended_at_the_next_start_of_the_plane(containers: Engine) -> None:
    before = listed(docker_network.FORWARD_CHAIN)
    drop_first(docker_network.FORWARD_CHAIN)
    assert listed(docker_network.FORWARD_CHAIN) != before
    await docker_network.ensure_rules()
    assert listed(docker_network.FORWARD_CHAIN) == before
    await docker_network.ensure_rules()
    assert listed(docker_network.FORWARD_CHAIN) == before


async def test_an_image_that_is_missing_is_named(containers: Engine) -> None:
    with pytest.raises(EngineError, match="image"):
        await containers.runtime.start(replace(containers.spec(), image="no-such-image"))


async def test_another_control_planes_containers_are_not_seen(containers: Engine) -> None:
    await containers.started(containers.spec())
    assert await DockerRuntime(owner="/somebody/else").observe() == []


def test_only_name_servers_in_closed_ranges_are_let_through() -> None:
    conf = "# comment\nnameserver 127.0.0.53\nnameserver 10.0.0.2\nnameserver 8.8.8.8\nnameserver fe80::1\n"
    assert docker_network.private_name_servers(conf) == ["10.0.0.2"]


def _listen_in(container: str, port: int) -> None:
    program = (
        "import socket, os\n"
        f"s = socket.create_server(('0.0.0.0', {port}))\n"
        "os.fork() and os._exit(0)\n"
        "os.setsid(); [os.close(n) for n in (0, 1, 2)]\n"
        "while True: s.accept()"
    )
    subprocess.run(["docker", "exec", container, "python3", "-c", program], check=True, timeout=20)
