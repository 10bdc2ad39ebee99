"""The one network that all containers share, and the firewall that keeps them from each other and from the machine.

Containers on it cannot reach each other (no inter-container traffic), nothing on the host (INPUT from the bridge is
dropped, but for what the host began), and no private or link-local address, where metadata services answer; only the
outside, for providers. Name servers of the host that have a private address may be asked for names.
"""

from __future__ import annotations

import asyncio
import ipaddress
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import docker.errors

from control_plane.runtimes.protocol import EngineError

NETWORK = "stockyard"
BRIDGE = "stockyard0"
FROM_BRIDGE = ("-i", "stockyard+")
OPTIONS = {
    "com.docker.network.bridge.name": BRIDGE,
    "com.docker.network.bridge.enable_icc": "false",
}
INPUT_CHAIN = "STOCKYARD-INPUT"
FORWARD_CHAIN = "STOCKYARD-FORWARD"
NOT_FOR_TENANTS = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
)
Rule = tuple[str, ...]


def ensure_network(api: Any) -> None:
    """Make the network, or see that the one there is keeps containers apart."""
    for found in api.networks(names=[NETWORK]):
        if found["Name"] != NETWORK:
            continue
        options = found.get("Options") or {}
        if any(options.get(name) != value for name, value in OPTIONS.items()):
            raise EngineError(
                f"the Docker network {NETWORK} is another's: it lets containers reach each other; remove it"
            )
        return
    try:
        api.create_network(NETWORK, driver="bridge", options=OPTIONS, check_duplicate=True)
    except docker.errors.APIError:
        if not any(found["Name"] == NETWORK for found in api.networks(names=[NETWORK])):
            raise  # else another control plane was quicker


def input_rules() -> list[Rule]:
    """From containers to the host itself."""
    return [("-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "-j", "RETURN"), ("-j", "DROP")]


def forward_rules(name_servers: Sequence[str]) -> list[Rule]:
    """From containers through the host."""
    asked = [
        ("-d", server, "-p", protocol, "--dport", "53", "-j", "RETURN")
        for server in name_servers
        for protocol in ("udp", "tcp")
    ]
    return [*asked, *(("-d", each, "-j", "DROP") for each in NOT_FOR_TENANTS)]


def private_name_servers(resolv_conf: str) -> list[str]:
    """IPv4 name servers of the host in a range that is closed otherwise; those on loopback the engine asks itself."""
    closed = [ipaddress.ip_network(each) for each in NOT_FOR_TENANTS]
    found = []
    for line in resolv_conf.splitlines():
        words = line.split()
        if len(words) < 2 or words[0] != "nameserver" or ":" in words[1]:
            continue
        address = ipaddress.ip_address(words[1])
        if not address.is_loopback and any(address in each for each in closed):
            found.append(str(address))
    return found


async def ensure_rules() -> None:
    """Put the rules in force, and look whether they are. Raises `EngineError`: without them no instance is started."""
    if shutil.which("iptables") is None:
        raise EngineError("iptables is not installed: without its rules containers would reach this machine's services")
    servers = private_name_servers(Path("/etc/resolv.conf").read_text(encoding="utf-8"))
    await _ensure_chain(INPUT_CHAIN, input_rules(), "INPUT")
    await _ensure_chain(FORWARD_CHAIN, forward_rules(servers), "DOCKER-USER")


async def missing_rules() -> list[str]:
    """What of the rules is not in force, in words; changes nothing. Raises `EngineError` where it cannot be looked at."""
    if shutil.which("iptables") is None:
        raise EngineError("iptables is not installed")
    servers = private_name_servers(Path("/etc/resolv.conf").read_text(encoding="utf-8"))
    found = []
    chains = ((INPUT_CHAIN, input_rules(), "INPUT"), (FORWARD_CHAIN, forward_rules(servers), "DOCKER-USER"))
    for chain, rules, hooked_into in chains:
        found += [f"{chain} lacks {' '.join(rule)}" for rule in rules if not await _holds("-C", chain, *rule)]
        first = [line for line in (await _iptables("-S", hooked_into)).splitlines() if line.startswith("-A")]
        if not first or not first[0].endswith(f"-j {chain}"):
            found.append(f"{hooked_into} does not ask {chain} first")
    return found


async def _ensure_chain(chain: str, rules: list[Rule], hooked_into: str) -> None:
    """The chain holds these rules and is asked first. While it is being rewritten nothing passes."""
    hook = (*FROM_BRIDGE, "-j", chain)
    await _iptables("-N", chain, may_fail=True)
    listed = (await _iptables("-S", chain)).splitlines()[1:]
    if len(listed) != len(rules) or not all([await _holds("-C", chain, *rule) for rule in rules]):
        await _iptables("-I", chain, "1", "-j", "DROP")
        for _ in listed:
            await _iptables("-D", chain, "2")
        for rule in rules:
            await _iptables("-A", chain, *rule)
        await _iptables("-D", chain, "1")
    first = (await _iptables("-S", hooked_into)).splitlines()
    before = [line for line in first if line.startswith("-A")]
    if not before or not before[0].endswith(f"-j {chain}"):
        await _iptables("-D", hooked_into, *hook, may_fail=True)  # it must be asked before any other rule
        await _iptables("-I", hooked_into, "1", *hook)
    if not await _holds("-C", hooked_into, *hook):
        raise EngineError(f"the firewall rule into {chain} does not hold")


async def _holds(*arguments: str) -> bool:
    status, _, _ = await _run(*arguments)
    return status == 0


async def _iptables(*arguments: str, may_fail: bool = False) -> str:
    status, out, err = await _run(*arguments)
    if status and not may_fail:
        raise EngineError(f"iptables {' '.join(arguments)}: {err.strip() or status}")
    return out


async def _run(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        "iptables", "-w", "10", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()
