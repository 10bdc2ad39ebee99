"""The Docker engine as the check-up sees it."""

from __future__ import annotations

import asyncio
import subprocess

import pytest

from control_plane.config import load_config
from control_plane.doctor.engine import Engine, check_engine, judge_engine, judge_rules
from control_plane.doctor.finding import Finding
from control_plane.runtimes import docker_network

SOUND = Engine("20.10.24+dfsg1", True, True, dict(docker_network.OPTIONS))


def levels(findings: list[Finding]) -> dict[str, str]:
    return {each.name: each.level.value for each in findings}


def test_a_sound_engine_is_in_order() -> None:
    assert set(levels(judge_engine(SOUND, "image:1")).values()) == {"ok"}


@pytest.mark.parametrize(
    ("engine", "name", "level"),
    [
        (SOUND._replace(version="19.03.5"), "engine", "warn"),
        (SOUND._replace(live_restore=False), "live_restore", "warn"),
        (SOUND._replace(image_there=False), "image", "bad"),
        (SOUND._replace(network={"com.docker.network.bridge.enable_icc": ""}), "network", "bad"),
    ],
)
def test_what_is_wrong_with_an_engine_is_found(engine: Engine, name: str, level: str) -> None:
    finding = next(each for each in judge_engine(engine, "image:1") if each.name == name)
    assert finding.level == level and finding.why and finding.mend


def test_a_firewall_without_its_rules_is_bad() -> None:
    assert judge_rules([]).level == "ok"
    assert judge_rules(["INPUT does not ask STOCKYARD-INPUT first"]).level == "bad"


async def test_an_engine_that_does_not_answer_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    (finding,) = await check_engine(load_config({"data": "/x", "runtime": "docker"}, {}))
    assert finding.level == "bad" and finding.name == "engine"


@pytest.mark.slow
@pytest.mark.docker
async def test_a_rule_that_somebody_removed_from_the_real_firewall_is_found() -> None:
    config = load_config({"data": "/x", "runtime": "docker", "image": "no-such-image"}, {})
    await docker_network.ensure_rules()
    found = levels(await check_engine(config))
    assert (found["engine"], found["firewall"], found["image"]) == ("ok", "ok", "bad")
    chain = docker_network.FORWARD_CHAIN
    rule = ["-d", "169.254.0.0/16", "-j", "DROP"]
    await asyncio.to_thread(subprocess.run, ["iptables", "-w", "-D", chain, *rule], check=True, timeout=20)
    try:
        finding = next(each for each in await check_engine(config) if each.name == "firewall")
        assert finding.level == "bad" and "169.254.0.0/16" in finding.seen
    finally:
        await docker_network.ensure_rules()
