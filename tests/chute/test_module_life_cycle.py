"""A module that fails or hangs when it starts, stops, ticks or reports: contained, and told to who switched it."""

import tempfile
from pathlib import Path
from typing import Any

import httpx2
import pytest

from instance.chute import life_cycle
from instance.server import Instance, ServeOptions
from tests.chute.test_contained_modules import Unruly, with_unruly
from tests.modules.conftest import Running, running
from tests.waiting import until

__all__ = ["with_unruly"]


async def put(s: Running, **change: Any) -> httpx2.Response:
    return await s.http(s.admin_key).put("/api/proxy/modules/unruly", json=change)


@pytest.mark.parametrize("fault", ["raises", "hangs"])
async def test_settings_with_which_it_does_not_start_are_refused_and_it_goes_on_as_it_was(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running({"unruly": {"hook": "on_request", "fault": "raises"}}) as s:
        monkeypatch.setattr(life_cycle, "START_MAX_S", 0.2)
        before = s.module("unruly")
        refused = await put(s, config={"hook": "start", "fault": fault})
        error = refused.json()["error"]
        assert (refused.status_code, error["code"]) == (503, "module_failed")
        assert "unruly" in error["message"]
        assert s.module("unruly") is before
        monkeypatch.setattr(life_cycle, "START_MAX_S", 120.0)
        assert (await put(s, config={"hook": ""})).status_code == 200, "the next change is not held up"
        assert (await s.chat()).status_code == 200


@pytest.mark.parametrize("fault", ["raises", "hangs"])
async def test_one_that_does_not_stop_holds_nobody_up(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life_cycle, "STOP_MAX_S", 0.2)
    async with running({"unruly": {"hook": "stop", "fault": fault}}) as s:
        assert (await put(s, enabled=False)).status_code == 200
        assert (await put(s, enabled=True)).status_code == 200
        assert (await s.chat()).status_code == 200
        # The instance closes while the second one is on, which does not stop either.


@pytest.mark.parametrize("fault", ["raises", "hangs"])
async def test_a_tick_that_fails_is_counted_and_the_next_one_comes(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life_cycle, "TICK_MAX_S", 0.05)
    async with running({"unruly": {"hook": "tick", "fault": fault}}) as s:
        http = s.http(s.admin_key)

        async def row() -> dict[str, Any]:
            shown: dict[str, Any] = (await http.get("/api/proxy/modules/unruly")).json()
            return shown

        async def twice() -> bool:
            return bool((await row())["errors"] >= 2)

        await until(twice)
        said = {"raises": "tick: RuntimeError: a bug", "hangs": "tick: TimeoutError: "}[fault]
        assert (await row())["last_error"] == said
        assert (await s.chat()).status_code == 200


async def test_a_report_that_fails_is_shown_as_that() -> None:
    async with running({"unruly": {"hook": "report"}}) as s:
        shown = await s.http(s.admin_key).get("/api/proxy/modules/unruly")
        assert (shown.status_code, shown.json()["report"]) == (200, {"error": "RuntimeError"})
        listed = (await s.http(s.admin_key).get("/api/proxy/modules")).json()["modules"]
        (row,) = [row for row in listed if row["name"] == "unruly"]
        assert (row["errors"], row["last_error"]) == (1, "report: RuntimeError: a bug")


@pytest.mark.parametrize("on_error", ["open", "closed"])
async def test_one_that_does_not_start_with_the_instance_is_left_off_or_refuses_calls(on_error: str) -> None:
    with tempfile.TemporaryDirectory(prefix="sy") as folder:
        file = Path(folder) / "test.toml"
        file.write_text(f'[modules.unruly]\nenabled = true\nhook = "start"\non_error = "{on_error}"\n')
        instance = await Instance.open(ServeOptions(Path(folder) / "data", config=file, port=0, env={}))
        try:
            made = instance.core.first_keys
            assert made is not None
            async with httpx2.AsyncClient(base_url=await instance.listen()) as http:
                admin = {"authorization": f"Bearer {made.admin}"}
                proxy = {"authorization": f"Bearer {made.proxy}"}
                ask = {"model": "mock/gpt", "messages": [{"role": "user", "content": "hi"}]}
                row = (await http.get("/api/proxy/modules/unruly", headers=admin)).json()
                assert row["last_error"].startswith("not started: ")
                assert (row["enabled"], row["in_chain"]) == ((True, True) if on_error == "closed" else (False, False))
                for stream in (False, True):
                    answer = await http.post("/v1/chat/completions", headers=proxy, json={**ask, "stream": stream})
                    if on_error == "open":
                        assert answer.status_code == 200
                        continue
                    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "module_failed")
                    assert answer.headers["x-stockyard-module"] == "unruly"
                mended = {"enabled": True, "config": {"hook": ""}}
                assert (await http.put("/api/proxy/modules/unruly", headers=admin, json=mended)).status_code == 200
                assert (await http.post("/v1/chat/completions", headers=proxy, json=ask)).status_code == 200
        finally:
            await instance.close()


async def test_a_module_that_is_on_when_it_hangs_at_the_start_does_not_keep_the_instance_from_starting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(life_cycle, "START_MAX_S", 3.0)
    async with running(config='[modules.unruly]\nenabled = true\nhook = "start"\nfault = "hangs"\n') as s:
        assert Unruly.hung == 1
        assert (await s.chat()).status_code == 200
