from typing import Any

import openai
import pytest
from pydantic import ValidationError

from instance.chute.modules.other import address_bans
from instance.chute.modules.other.ipfence import IPFence
from instance.core.clock import FakeClock
from instance.core.errors import StockyardError
from tests.modules.conftest import running
from tests.modules.exchanges import core, exchange, trail


def fence(**settings: Any) -> IPFence:
    return IPFence(IPFence.Settings(**settings))


def refused(module: IPFence, address: str, **more: Any) -> bool:
    x = exchange(client_ip=address, **more)
    try:
        module.on_request(x)
    except StockyardError as error:
        assert (error.code, error.status) == ("ip_denied", 403)
        return True
    return False


def test_without_settings_everybody_comes_in() -> None:
    assert not refused(fence(), "192.0.2.1")
    assert not refused(fence(), "")


def test_denied_addresses_are_refused() -> None:
    module = fence(deny=["192.0.2.0/24", "2001:db8::1"])
    assert refused(module, "192.0.2.77")
    assert refused(module, "2001:db8::1")
    assert not refused(module, "192.0.3.1")


def test_ipv4_in_ipv6_is_the_same_address() -> None:
    assert refused(fence(deny=["127.0.0.1"]), "::ffff:127.0.0.1")
    assert refused(fence(deny=["::ffff:127.0.0.0/104"]), "127.0.0.1")


def test_a_list_of_allowed_addresses_refuses_the_rest_and_deny_goes_before() -> None:
    module = fence(allow=["10.0.0.0/8"], deny=["10.1.0.0/16"])
    assert not refused(module, "10.2.0.1")
    assert refused(module, "10.1.0.1")
    assert refused(module, "11.0.0.1")
    assert refused(module, "")


def test_a_key_may_be_bound_to_addresses() -> None:
    module = fence(per_key={"test": ["10.0.0.0/8"], "99": []})
    assert not refused(module, "10.0.0.1")
    assert refused(module, "11.0.0.1")


def test_flagging_lets_the_call_through_and_notes_it() -> None:
    module, x = fence(deny=["192.0.2.1"], action="flag"), exchange(client_ip="192.0.2.1")
    module.on_request(x)
    assert trail(x, "") == [("ip", {"address": "192.0.2.1", "rule": "deny 192.0.2.1"})]


async def test_who_keeps_trying_is_shut_out_for_a_while() -> None:
    clock = FakeClock()
    module = fence(ban_after=3, ban_window_s=60, ban_s=600)
    await module.start(core(clock), None)
    for _ in range(3):
        assert not refused(module, "192.0.2.1")
        module.refused("192.0.2.1")
    assert refused(module, "192.0.2.1")
    assert not refused(module, "192.0.2.2")
    assert module.bans() == {"192.0.2.1": 600}
    clock.advance(600)
    assert not refused(module, "192.0.2.1")


async def test_tries_that_are_far_apart_lead_to_no_ban() -> None:
    clock = FakeClock()
    module = fence(ban_after=2, ban_window_s=60)
    await module.start(core(clock), None)
    module.refused("192.0.2.1")
    clock.advance(61)
    module.refused("192.0.2.1")
    assert module.bans() == {}


async def test_a_ban_survives_a_change_of_settings_and_can_be_lifted() -> None:
    clock = FakeClock()
    old, new = fence(ban_after=1), fence(ban_after=1, deny=["10.0.0.1"])
    await old.start(core(clock), None)
    old.refused("192.0.2.1")
    await new.start(core(clock), old)
    assert refused(new, "192.0.2.1")
    assert new.unban("192.0.2.1")
    assert not refused(new, "192.0.2.1")
    assert not new.unban("192.0.2.1")


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address_bans, "TRACKED_MAX", 3)
    monkeypatch.setattr("instance.chute.modules.other.ipfence.CACHED_VERDICTS", 3)
    module = fence(ban_after=1, deny=["10.0.0.0/8"])
    for number in range(10):
        module.refused(f"192.0.2.{number}")
        module.verdict(f"198.51.100.{number}")
    assert sorted(module.bans()) == ["192.0.2.7", "192.0.2.8", "192.0.2.9"]
    assert len(module._verdicts) <= 3


async def test_own_proxies_are_believed_beside_the_servers() -> None:
    module = fence(trusted_proxies=["10.0.0.0/8"], deny=["1.2.3.4"])
    await module.start(core(), None)
    believed = {b"x-forwarded-for": b"1.2.3.4, 10.0.0.1"}
    x = exchange(client_ip="10.0.0.2", headers=believed)
    with pytest.raises(StockyardError):
        module.on_request(x)
    assert x.client_ip == "1.2.3.4"
    assert not refused(module, "192.0.2.1", headers=believed)


def test_bad_entries_are_refused_by_name() -> None:
    with pytest.raises(ValidationError, match=r"'10\.0\.0\.300' is neither an IP address nor a network"):
        fence(deny=["10.0.0.300"])


async def test_a_denied_caller_gets_403_and_the_provider_nothing() -> None:
    async with running({"ipfence": {"deny": ["127.0.0.1"]}}) as s:
        with pytest.raises(openai.PermissionDeniedError) as caught:
            await s.sdk().chat.completions.create(model=s.model, messages=[{"role": "user", "content": "hi"}])
        assert caught.value.code == "ip_denied"
        assert caught.value.response.headers["x-stockyard-module"] == "ipfence"
        assert len(s.mock.calls) == 0
        trace = await s.trace(caught.value.response.headers["x-stockyard-trace-id"])
        assert (trace["status"], trace["cost_usd"]) == ("blocked", 0.0)


async def test_a_faked_header_changes_nothing() -> None:
    async with running({"ipfence": {"deny": ["127.0.0.1"]}}) as s:
        assert (await s.chat(headers={"X-Forwarded-For": "8.8.8.8"})).status_code == 403


async def test_a_trusted_proxys_word_counts() -> None:
    config = '[server]\ntrusted_proxies = ["127.0.0.1", "10.0.0.0/8"]\n'
    async with running({"ipfence": {"deny": ["1.2.3.4"]}}, config=config) as s:
        assert (await s.chat(headers={"X-Forwarded-For": "1.2.3.4, 10.0.0.1"})).status_code == 403
        answer = await s.chat(headers={"X-Forwarded-For": "5.6.7.8, 10.0.0.1"})
        assert (await s.trace(answer.headers["x-stockyard-trace-id"]))["client_ip"] == "5.6.7.8"


async def test_guessing_keys_leads_to_a_ban() -> None:
    async with running({"ipfence": {"ban_after": 2}}) as s:
        answers = [await s.http("sk-sy-wrong").post("/v1/chat/completions", json=s.body()) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [401, 401, 403]
        assert (await s.chat()).status_code == 403
        s.module("ipfence").unban("127.0.0.1")
        assert (await s.chat()).status_code == 200


@pytest.mark.parametrize(
    "settings",
    [
        {"allow": ["10.0.0.0/8"]},
        {"deny": ["192.0.2.1"]},
        {"per_key": {"test": ["10.0.0.0/8"]}},
        {"ban_after": 3},
        {"trusted_proxies": ["10.0.0.1"]},
    ],
)
def test_it_looks_at_calls_only_where_its_settings_ask_something_of_addresses(settings: dict[str, Any]) -> None:
    assert fence(**settings).hooks() == ("on_request",)
    assert fence(webhook="https://example.com/hook", cover_console=True).hooks() == ()


async def test_bans_hold_also_under_settings_that_make_no_new_ones() -> None:
    clock = FakeClock()
    before, after = fence(ban_after=1, ban_s=600), fence()
    await before.start(core(clock), None)
    before.refused("192.0.2.1")
    await after.start(core(clock), before)
    assert after.hooks() == ("on_request",)
    assert refused(after, "192.0.2.1")
    assert not refused(after, "192.0.2.2")
