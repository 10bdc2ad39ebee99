"""ipfence over HTTP: countries, the console, who is told, and saving what would shut the saver out."""

from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.mock_upstream import until
from tests.modules.conftest import Running, running
from tests.modules.mmdb_file import write_countries

BEHIND_A_PROXY = '[server]\ntrusted_proxies = ["127.0.0.1"]\n'
PAGE = "/api/proxy/modules/ipfence"


def _from(address: str) -> dict[str, str]:
    return {"X-Forwarded-For": address}


def _countries(folder: Path) -> str:
    path = folder / "countries.mmdb"
    write_countries(path, {"192.0.2.0/24": "DE", "198.51.100.0/24": "FR", "203.0.113.0/24": "US"})
    return str(path)


async def _put(s: Running, **body: Any) -> httpx2.Response:
    return await s.http(s.admin_key).put(PAGE, json=body)


@pytest.mark.parametrize("stream", [False, True])
async def test_callers_come_in_by_their_country(tmp_path: Path, stream: bool) -> None:
    own = {"mmdb": _countries(tmp_path), "countries_allow": ["DE", "US"], "countries_deny": ["US"]}
    async with running({"ipfence": {**own, "allow": ["198.51.100.7"]}}, config=BEHIND_A_PROXY) as s:
        expected = {
            "192.0.2.1": "",
            "203.0.113.1": "country US",
            "198.51.100.1": "not in allow",
            "198.51.100.7": "",
            "10.9.9.9": "not in allow",
        }
        for address, rule in expected.items():
            answer = await s.chat(headers=_from(address), stream=stream)
            assert answer.status_code == (403 if rule else 200), address
            noted = [
                detail
                for action, detail in await s.trail(answer.headers["x-stockyard-trace-id"], "ipfence")
                if action == "ip"
            ]
            assert noted == ([{"address": address, "rule": rule}] if rule else [])
        await s.configure({"ipfence": own})
        answer = await s.chat(headers=_from("10.9.9.9"), stream=stream)
        assert (answer.status_code, s.module("ipfence").report()["refused_by"]["country unknown"]) == (403, 1)


@pytest.mark.parametrize(
    ("config", "param"),
    [
        ({"countries_deny": ["DE"]}, "config."),
        ({"countries_deny": ["Germany"], "mmdb": "/x"}, "config.countries_deny.0"),
        ({"mmdb": "/there/is/no/such.mmdb"}, "config.mmdb"),
        ({"webhook": "ftp://x"}, "config.webhook"),
        ({"deny": ["10.0.0.300"]}, "config.deny"),
        ({"ban_window_s": 0}, "config.ban_window_s"),
    ],
)
async def test_settings_that_cannot_be_are_refused_and_the_module_goes_on(config: dict[str, Any], param: str) -> None:
    async with running({"ipfence": {"deny": ["192.0.2.1"]}}, config=BEHIND_A_PROXY) as s:
        answer = await _put(s, config=config)
        assert (answer.status_code, answer.json()["error"]["param"]) == (422, param)
        assert (await s.chat(headers=_from("192.0.2.1"))).status_code == 403
        assert (await s.chat(headers=_from("192.0.2.2"))).status_code == 200


async def test_the_console_is_guarded_when_that_is_asked_and_health_is_not() -> None:
    async with running({"ipfence": {"deny": ["192.0.2.1"]}}, config=BEHIND_A_PROXY) as s:
        http = s.http(s.admin_key)
        assert (await http.get(PAGE, headers=_from("192.0.2.1"))).status_code == 200
        await _put(s, config={"cover_console": True})
        refused = await http.get(PAGE, headers=_from("192.0.2.1"))
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "ip_denied")
        assert (await http.get("/health", headers=_from("192.0.2.1"))).status_code == 200
        assert (await http.get(PAGE, headers=_from("192.0.2.2"))).status_code == 200


async def test_what_would_shut_the_saver_out_needs_a_confirmation() -> None:
    async with running(config=BEHIND_A_PROXY) as s:
        http = s.http(s.admin_key)
        here = _from("192.0.2.1")
        change: dict[str, Any] = {"enabled": True, "config": {"allow": ["10.0.0.0/8"]}}
        answer = await http.put(PAGE, json=change, headers=here)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (409, "confirmation_needed", "confirm")
        assert s.module("ipfence") is None
        bulk = await http.post("/api/proxy/modules/bulk", json={"changes": {"ipfence": change}}, headers=here)
        assert bulk.status_code == 409
        assert (await http.put(PAGE, json=change, headers=_from("10.0.0.1"))).status_code == 200
        flagged = {"config": {"action": "flag"}}
        assert (await http.put(PAGE, json=flagged, headers=here)).status_code == 200
        blocked = {"config": {"action": "block"}, "confirm": True}
        assert (await http.put(PAGE, json=blocked, headers=here)).status_code == 200
        assert (await s.chat(headers=here)).status_code == 403


async def test_bans_are_listed_and_lifted_by_the_api() -> None:
    async with running({"ipfence": {"ban_after": 1, "ban_s": 600}}, config=BEHIND_A_PROXY) as s:
        http = s.http(s.admin_key)
        here = _from("192.0.2.1")
        wrong = await s.http("sk-sy-wrong").post("/v1/chat/completions", json=s.body(), headers=here)
        assert wrong.status_code == 401
        assert (await s.chat(headers=here)).status_code == 403
        (row,) = (await http.get(f"{PAGE}/bans")).json()["bans"]
        assert row["address"] == "192.0.2.1"
        assert 0 < row["left_s"] <= 600
        assert (await http.get(PAGE)).json()["report"]["bans"].keys() == {"192.0.2.1"}
        assert (await http.delete(f"{PAGE}/bans/192.0.2.1")).json()["status"] == "lifted"
        assert (await http.delete(f"{PAGE}/bans/192.0.2.1")).status_code == 404
        assert (await s.chat(headers=here)).status_code == 200
        events = (await http.get("/api/trust/ledger?event_type=config_change")).json()["events"]
        assert ("address:192.0.2.1", "unban") in [(event["resource"], event["action"]) for event in events]


async def test_a_webhook_is_told_once_a_minute_of_each_address() -> None:
    async with running(config=BEHIND_A_PROXY) as s:
        own = {"deny": ["192.0.2.0/24"], "webhook": f"{s.mock.url}/told"}
        await s.configure({"ipfence": own})
        for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2"):
            assert (await s.chat(headers=_from(address))).status_code == 403
        await until(lambda: len(s.mock.calls) >= 2)
        told = [call.json() for call in s.mock.calls]
        assert [(row["event"], row["address"], row["rule"]) for row in told] == [
            ("address.refused", "192.0.2.1", "deny 192.0.2.0/24"),
            ("address.refused", "192.0.2.2", "deny 192.0.2.0/24"),
        ]
