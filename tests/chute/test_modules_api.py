"""Modules switched and configured over HTTP while calls run; kept over a restart; in the ledger; custom ones too."""

import asyncio
import tempfile
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar

import httpx2
import pytest
from pydantic import Field

from instance.chute.answer import Answer
from instance.chute.discovery import builtin_modules, custom_modules
from instance.chute.exchange import Exchange
from instance.chute.module import Module, ModuleSettings, hooks_of
from instance.chute.order import GROUPS, PLACE
from instance.core.errors import StockyardError
from instance.server import Instance, ServeOptions
from tests.mock_replies import delay
from tests.mock_upstream import until
from tests.modules.conftest import Running, running

BUILT = {cls.name for cls in builtin_modules()}

ON_BY_DEFAULT = frozenset(
    [
        "errornorm",
        "tracelink",
        "llmtap",
        "streamsnap",
        "compliancelog",
        "alertpulse",
        "feedbackloop",
        "usagepulse",
        "idlekill",
        "promptpad",
        "modelalias",
        "trustenforce",
        "secretscan",
        "healthcheck",
        "embedcache",
        "jsonrepair",
        "retry",
        "circuitbreaker",
        "keypool",
        "timeout",
        "paramnorm",
        "anthrofit",
        "geminishim",
        "groqshim",
        "ollamashim",
        "bedrockshim",
        "azureshim",
        "mistralshim",
        "cohereshim",
        "togethershim",
        "deepseekshim",
        "fireworksshim",
        "replicateshim",
        "perplexityshim",
    ]
)
"""Those of the 76 that are on at first: they change no answer, or turn a failure into one."""


class Asker(Module):
    """A custom module with a `prepare`: asks something slow before the call, and may answer by itself."""

    name: ClassVar[str] = "asker"
    category: ClassVar[str] = "custom"
    group: ClassVar[int] = 5
    summary: ClassVar[str] = "Asks before it lets a call through."

    class Settings(ModuleSettings):
        forbidden: str = Field(default="", max_length=50, description="A word that is refused.")
        answer: str = Field(default="", description="Answer by itself with this text.")

    settings: Settings
    stopped: ClassVar[list[str]] = []

    async def prepare(self, x: Exchange) -> Answer | None:
        await asyncio.sleep(0)
        text = x.req["messages"][-1]["content"]
        if self.settings.forbidden and self.settings.forbidden in text:
            raise StockyardError("policy_blocked", f"{self.settings.forbidden!r} may not be asked.")
        x.note("asked", {"characters": len(text)})
        if self.settings.answer:
            message = {"role": "assistant", "content": self.settings.answer}
            return Answer(obj={"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
        return None

    async def stop(self) -> None:
        self.stopped.append(self.settings.forbidden)


@pytest.fixture
def with_asker(monkeypatch: pytest.MonkeyPatch, other_packages: None) -> None:
    point = EntryPoint("asker", "tests.chute.test_modules_api:Asker", "stockyard.modules")
    broken = EntryPoint("broken", "tests.chute.no_such_file:Nothing", "stockyard.modules")
    monkeypatch.setattr("instance.chute.discovery.entry_points", lambda group: [broken, point])
    Asker.stopped.clear()


async def put(s: Running, name: str, **change: Any) -> httpx2.Response:
    return await s.http(s.admin_key).put(f"/api/proxy/modules/{name}", json=change)


def test_the_built_modules_are_in_the_chains_order_with_their_hooks() -> None:
    found = {cls.name: cls for cls in builtin_modules()}
    assert set(found) <= set(PLACE)
    assert len(found) == len(list(builtin_modules()))
    for name, cls in found.items():
        assert PLACE[name][0] == cls.group
        assert hooks_of(cls) or cls.category == "shims"
        assert cls.summary
        for setting, field in cls.Settings.model_fields.items():
            assert field.description, f"{name}.{setting} has no description"
    assert sum(map(len, GROUPS)) == 76
    assert len(PLACE) == 76
    used = {hook for cls in found.values() for hook in hooks_of(cls)}
    assert used >= {"on_request", "around", "on_response", "on_delta", "on_finish"}


class Older(Asker):
    """As a package would have it that was written for hooks that are no more."""

    name = "older"
    api_version = 0


def test_a_module_for_another_version_of_the_hooks_is_left_out_and_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, other_packages: None, caplog: pytest.LogCaptureFixture
) -> None:
    points = [
        EntryPoint(name, f"tests.chute.test_modules_api:{name.title()}", "stockyard.modules")
        for name in ("older", "asker")
    ]
    monkeypatch.setattr("instance.chute.discovery.entry_points", lambda group: points)
    assert [cls.name for _, cls in custom_modules()] == ["asker"]
    assert "written for version 0 of the hooks; here runs 1" in caplog.text


def test_those_on_by_default_change_no_answer() -> None:
    assert len(ON_BY_DEFAULT) == 34
    on = {cls.name for cls in builtin_modules() if cls.default_enabled}
    assert on == ON_BY_DEFAULT & BUILT


async def test_the_list_shows_every_module_and_one_shows_its_schema() -> None:
    async with running() as s:
        await s.chat()
        http = s.http(s.admin_key)
        listed = (await http.get("/api/proxy/modules")).json()
        assert listed["count"] == len(BUILT)
        assert [row["name"] for row in listed["modules"]][:3] == ["errornorm", "tracelink", "llmtap"]
        assert listed["enabled_count"] == len(ON_BY_DEFAULT & BUILT)
        timed = {row["name"]: row for row in listed["modules"]}["retry"]
        assert timed["calls"] == 1
        assert timed["p50_us"] > 0
        one = (await http.get("/api/proxy/modules/retry")).json()
        assert one["schema"]["properties"]["max_retries"]["description"]
        assert one["defaults"]["max_retries"] == 2
        assert one["rejects"] == []
        limited = (await http.get("/api/proxy/modules/rateshield")).json()
        assert {"code": "rate_limited", "status": 429} in limited["rejects"]
        safety = (await http.get("/api/proxy/modules?category=safety")).json()["modules"]
        assert {row["name"] for row in safety} == {cls.name for cls in builtin_modules() if cls.category == "safety"}
        assert "secretscan" in {row["name"] for row in safety}
        chain = (await http.get("/api/proxy/chain")).json()
        assert chain["chain_length"] == len(ON_BY_DEFAULT & BUILT)
        assert chain["total_modules"] == len(BUILT)


async def test_every_listed_module_has_its_state_its_figures_and_its_schema_at_its_own_address() -> None:
    async with running() as s:
        await put(s, "ipfence", enabled=True, config={"deny": ["127.0.0.0/8", "::1"]}, confirm=True)
        for _ in range(3):
            assert (await s.chat()).status_code == 403
        http = s.http(s.admin_key)
        listed = (await http.get("/api/proxy/modules")).json()["modules"]
        assert [row["priority"] for row in listed] == list(range(len(BUILT)))
        for row in listed:
            assert row["category"]
            assert row["enabled"] is (row["name"] in ON_BY_DEFAULT or row["name"] == "ipfence")
            assert {"calls", "blocked", "errors", "p50_us", "p99_us"} <= row.keys()
            one = (await http.get(f"/api/proxy/modules/{row['name']}")).json()
            assert one["schema"]["properties"].keys() == row["config"].keys() == one["defaults"].keys()
        fence = next(row for row in listed if row["name"] == "ipfence")
        assert (fence["calls"], fence["blocked"]) == (3, 3)


async def test_a_switch_takes_effect_with_the_next_call_and_is_in_the_ledger() -> None:
    async with running() as s:
        assert (await s.chat()).headers.get("x-stockyard-cache") is None
        answer = await put(s, "cachelayer", enabled=True, config={"ttl_s": 60})
        assert answer.status_code == 200
        assert answer.json()["config"]["ttl_s"] == 60
        assert (await s.chat()).headers["x-stockyard-cache"] == "miss"
        assert (await s.chat()).headers["x-stockyard-cache"] == "hit"
        await put(s, "cachelayer", enabled=False)
        assert (await s.chat()).headers.get("x-stockyard-cache") is None
        events = (await s.http(s.admin_key).get("/api/trust/ledger?event_type=module_toggled")).json()["events"]
        assert [(event["resource"], event["detail"]["enabled"]) for event in events] == [
            ("module:cachelayer", False),
            ("module:cachelayer", True),
        ]


@pytest.mark.parametrize(
    ("change", "status", "code", "param"),
    [
        ({"config": {"max_retries": -1}}, 422, "invalid_value", "config.max_retries"),
        ({"config": {"max_retries": "many"}}, 422, "invalid_value", "config.max_retries"),
        ({"config": {"max_retrys": 1}}, 422, "unknown_field", "config.max_retrys"),
        ({"enable": True}, 422, "unknown_field", None),
        ({"priority": 0}, 422, "invalid_value", "priority"),
    ],
)
async def test_wrong_settings_are_refused_and_the_module_goes_on_as_it_was(
    change: dict[str, Any], status: int, code: str, param: str | None
) -> None:
    async with running() as s:
        before = (await s.http(s.admin_key).get("/api/proxy/modules/retry")).json()["config"]
        answer = await put(s, "retry", **change)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (status, code)
        if param:
            assert error["param"] == param
        if code == "unknown_field" and param:
            assert "max_retries" in error["message"]
        assert (await s.http(s.admin_key).get("/api/proxy/modules/retry")).json()["config"] == before


async def test_an_unknown_module_is_404_with_the_nearest_name_and_a_proxy_key_may_not_look() -> None:
    async with running() as s:
        answer = await put(s, "cachlayer", enabled=True)
        assert answer.status_code == 404
        assert "cachelayer" in answer.json()["error"]["message"]
        assert (await s.http().get("/api/proxy/modules")).status_code == 403
        assert (await s.http().put("/api/proxy/modules/retry", json={"enabled": False})).status_code == 403


async def test_bulk_changes_are_all_or_nothing() -> None:
    async with running() as s:
        http = s.http(s.admin_key)
        changes = {"retry": {"enabled": False}, "timeout": {"config": {"total_s": -5}}}
        assert (await http.post("/api/proxy/modules/bulk", json={"changes": changes})).status_code == 422
        assert s.module("retry") is not None
        answer = await http.post("/api/proxy/modules/bulk", json={"enabled": False, "modules": ["retry", "timeout"]})
        assert answer.json()["affected"] == 2
        assert s.module("retry") is None
        unknown = await http.post("/api/proxy/modules/bulk", json={"enabled": True, "modules": ["retry", "nope"]})
        assert unknown.status_code == 422
        assert s.module("retry") is None
        assert (await http.post("/api/proxy/modules/retry/reset")).json()["enabled"] is True


async def test_what_was_changed_is_kept_over_a_restart() -> None:
    with tempfile.TemporaryDirectory(prefix="sy") as folder:
        options = ServeOptions(Path(folder), port=0, env={})
        first = await Instance.open(options)
        await first.chute.registry.change(
            {"retry": {"config": {"max_retries": 7}}, "llmtap": {"enabled": False}}, "key:1"
        )
        await first.close()
        second = await Instance.open(options)
        try:
            assert second.chute.registry.slot("retry").settings.model_dump()["max_retries"] == 7
            assert second.chute.registry.slot("llmtap").running is None
        finally:
            await second.close()


async def test_the_configuration_file_sets_modules_under_what_the_api_changes() -> None:
    async with running(config="[modules.cachelayer]\nenabled = true\nttl_s = 5\n") as s:
        one = (await s.http(s.admin_key).get("/api/proxy/modules/cachelayer")).json()
        assert (one["enabled"], one["config"]["ttl_s"]) == (True, 5)
        await put(s, "cachelayer", config={"ttl_s": 9})
        assert (await put(s, "cachelayer", config={"ttl_s": None})).json()["config"]["ttl_s"] == 5


@pytest.mark.usefixtures("with_asker")
async def test_a_module_of_another_package_stands_in_its_group_and_its_prepare_runs_in_order() -> None:
    async with running({"asker": {"forbidden": "dragons"}}) as s:
        ordered = [slot.name for slot in s.instance.chute.registry.ordered()]
        assert ordered.index("secretscan") < ordered.index("asker") < ordered.index("promptslim")
        answer = await s.chat("what of dragons?")
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "policy_blocked")
        assert answer.headers["x-stockyard-module"] == "asker"
        assert not s.mock.calls
        good = await s.chat("what of cows?")
        assert await s.trail(good.headers["x-stockyard-trace-id"], "asker") == [("asked", {"characters": 13})]
        await put(s, "asker", config={"answer": "by itself"})
        assert (await s.chat("what of cows?")).json()["choices"][0]["message"]["content"] == "by itself"
        assert len(s.mock.calls) == 1


@pytest.mark.usefixtures("with_asker")
async def test_a_module_is_stopped_only_after_the_last_call_that_uses_it() -> None:
    async with running({"asker": {"forbidden": "dragons"}}) as s:
        s.mock.script(delay(2, "late"))
        call = asyncio.create_task(s.chat("cows"))
        await until(lambda: bool(s.mock.calls))
        await put(s, "asker", enabled=False)
        assert call.done() or Asker.stopped == []
        assert (await call).status_code == 200
        await until(lambda: Asker.stopped == ["dragons"])


async def test_switching_under_load_fails_no_call() -> None:
    async with running() as s:
        stop = False
        statuses: list[int] = []

        async def caller() -> None:
            http = s.http()
            while not stop:
                answer = await http.post("/v1/chat/completions", json={**s.body(), "model": "mock/gpt"})
                statuses.append(answer.status_code)

        callers = [asyncio.create_task(caller()) for _ in range(8)]
        names = sorted(BUILT - {"rateshield"})  # refuses by its default limit
        for turn in range(60):
            name = names[turn % len(names)]
            enabled = s.module(name) is None
            await s.configure({name: enabled})
        stop = True
        await asyncio.gather(*callers)
        assert set(statuses) == {200}
        assert len(statuses) > 50
