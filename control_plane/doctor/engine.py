"""The Docker engine: there, new enough, able to restart without its containers, walled in, with the image at hand."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import docker
import docker.errors
import requests.exceptions

from control_plane.config import Config
from control_plane.doctor.finding import Finding, Level, good
from control_plane.runtimes import docker_network
from control_plane.runtimes.protocol import EngineError

ASK_S = 10
OLDEST = (20, 10)
RUNBOOK = "EngineUnsafe"


class Engine(NamedTuple):
    """What the engine says of itself; `network` is empty where there is none of the instances' yet."""

    version: str
    live_restore: bool
    image_there: bool
    network: dict[str, str]


async def check_engine(config: Config) -> list[Finding]:
    """Nothing to look at on another runtime."""
    if config.runtime != "docker":
        return [good("engine", f"not needed by the runtime `{config.runtime}`")]
    try:
        engine = await asyncio.to_thread(_look, config.image)
    except (docker.errors.DockerException, requests.exceptions.RequestException) as problem:
        why = "no instance can be started, stopped or seen; those that run are served on"
        command = "systemctl status docker; systemctl start docker"
        return [Finding("engine", Level.BAD, f"Docker does not answer: {problem}", why, "start it", command, RUNBOOK)]
    try:
        missing = await docker_network.missing_rules()
    except (EngineError, OSError) as problem:
        missing = [str(problem)]
    return [*judge_engine(engine, config.image), judge_rules(missing)]


def judge_engine(engine: Engine, image: str) -> list[Finding]:
    """Version, live-restore, image and network."""
    found = [good("engine", f"Docker {engine.version} answers")]
    if _numbers(engine.version) < OLDEST:
        why = "containers' limits and the network's options are tried from 20.10 on"
        seen = f"Docker {engine.version} is older than {'.'.join(map(str, OLDEST))}"
        found = [Finding("engine", Level.WARN, seen, why, "install a newer one", "", RUNBOOK)]
    if engine.live_restore:
        found.append(good("live_restore", "containers outlive a restart of Docker"))
    else:
        why = "when Docker restarts, every tenant's instance ends with it"
        mend = 'put {"live-restore": true} into /etc/docker/daemon.json and reload'
        found.append(
            Finding("live_restore", Level.WARN, "live-restore is off", why, mend, "systemctl reload docker", RUNBOOK)
        )
    if engine.image_there:
        found.append(good("image", f"{image} is there"))
    else:
        why = "new tenants, and those that wake, cannot be started"
        command = f"deploy/build-image.sh {image}"
        found.append(
            Finding("image", Level.BAD, f"{image} is not on this machine", why, "build or pull it", command, RUNBOOK)
        )
    wrong = [name for name, value in docker_network.OPTIONS.items() if engine.network.get(name, value) != value]
    if wrong:
        why = "containers on it may reach each other"
        mend = "stop the tenants, remove the network, start the control plane, which makes it anew"
        seen = f"the network {docker_network.NETWORK} has another {', '.join(wrong)}"
        command = f"docker network rm {docker_network.NETWORK}"
        found.append(Finding("network", Level.BAD, seen, why, mend, command, RUNBOOK))
    return found


def judge_rules(missing: list[str]) -> Finding:
    """Are the firewall's rules in force?"""
    if not missing:
        return good("firewall", "containers are kept from each other, from this machine and from private addresses")
    why = "a tenant may reach this machine's services, private networks, or the cloud's metadata service"
    mend = "start the control plane again, which puts them in force; then find out what removed them"
    return Finding("firewall", Level.BAD, "; ".join(missing[:4]), why, mend, "systemctl restart stockyard", RUNBOOK)


def _look(image: str) -> Engine:
    client: Any = docker.from_env(timeout=ASK_S).api
    try:
        info = client.info()
        try:
            client.inspect_image(image)
            there = True
        except docker.errors.ImageNotFound:
            there = False
        networks = client.networks(names=[docker_network.NETWORK])
        options = next((each.get("Options") or {} for each in networks if each["Name"] == docker_network.NETWORK), None)
        shown = {} if options is None else {name: options.get(name, "") for name in docker_network.OPTIONS}
        return Engine(str(info.get("ServerVersion", "")), bool(info.get("LiveRestoreEnabled")), there, shown)
    finally:
        client.close()


def _numbers(version: str) -> tuple[int, ...]:
    parts = [part for part in version.split("+")[0].split("-")[0].split(".") if part.isdigit()]
    return tuple(int(part) for part in parts[:2])
