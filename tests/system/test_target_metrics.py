"""Gauges of providers, targets and keys, as a scraper sees them."""

import re

from tests.mock_replies import status
from tests.modules.conftest import running

KEYS = [{"name": 'k"1', "provider": "up", "key": "first-key-of-the-pool-0001"}]
SAMPLE = re.compile(r"(\w+\{.*\}) (\S+)")


def samples(text: str) -> dict[str, float]:
    """Each series with its value; every line is a comment or a sample, and each metric is declared once."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    declared = re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE)
    assert len(declared) == len(set(declared))
    return {found[1]: float(found[2]) for line in lines if (found := SAMPLE.fullmatch(line))}


async def test_what_is_known_of_providers_targets_and_keys_can_be_scraped() -> None:
    modules = {"loadbalancer": True, "keypool": {"keys": KEYS}, "circuitbreaker": {"consecutive": 1}, "retry": False}
    async with running(modules) as s:
        await s.chat()
        s.mock.script(status(500))
        await s.chat()
        found = samples((await s.http(s.admin_key).get("/metrics")).text)
        assert found['stockyard_provider_up{provider="up"}'] == 1
        assert found['stockyard_provider_circuit{provider="up"}'] == 2
        assert found['stockyard_target_latency_seconds{target="up/small"}'] > 0
        assert found['stockyard_target_in_flight{target="up/small"}'] == 0
        assert found['stockyard_pooled_key_requests{provider="up",key="k\\"1"}'] == 2
        assert found['stockyard_pooled_key_ready{provider="up",key="k\\"1"}'] == 1
        assert found['stockyard_pooled_key_tokens{provider="up",key="k\\"1"}'] > 0


async def test_a_module_that_is_off_has_no_gauges() -> None:
    async with running({"circuitbreaker": False}) as s:
        text = (await s.http(s.admin_key).get("/metrics")).text
        assert "stockyard_provider_up{" in text
        assert "stockyard_provider_circuit" not in text
        assert "stockyard_target_latency" not in text
