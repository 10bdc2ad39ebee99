"""A module that raises, hangs or answers wrongly, in each of its hooks: contained as it declares, whole and streamed, over HTTP."""

import asyncio
from importlib.metadata import EntryPoint
from typing import Any, ClassVar, Literal

import openai
import pytest
from pydantic import Field

from instance.chute.answer import Answer, Delta
from instance.chute.exchange import Exchange
from instance.chute.module import Call, Module, ModuleSettings
from instance.core.core import Core
from tests.mock_replies import delay, status, text
from tests.modules.conftest import Running, running
from tests.waiting import until

WORDS = "one two three four"


class Unruly(Module):
    """Misbehaves in the hook that its settings name."""

    name: ClassVar[str] = "unruly"
    category: ClassVar[str] = "custom"
    group: ClassVar[int] = 5
    summary: ClassVar[str] = "Misbehaves."
    tick_s: ClassVar[float] = 0.02

    class Settings(ModuleSettings):
        hook: str = Field(default="", description="Where it misbehaves.")
        fault: Literal["raises", "hangs", "wrong"] = Field(default="raises", description="How.")

    settings: Settings
    hung: ClassVar[int] = 0

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        if settings.fault == "hangs":
            self.hang_s = 0.2  # type: ignore[misc]  # elsewhere a slow machine would look like a hanging module

    async def _misbehaves(self, hook: str, wrong: Any = None) -> Any:
        if self.settings.hook == hook:
            if self.settings.fault == "raises":
                raise RuntimeError("a bug")
            if self.settings.fault == "hangs":
                Unruly.hung += 1
                await asyncio.Event().wait()
            return wrong
        return None

    def _raises(self, hook: str) -> None:
        if self.settings.hook == hook and self.settings.fault == "raises":
            raise RuntimeError("a bug")

    def _is_wrong(self, hook: str) -> bool:
        return self.settings.hook == hook and self.settings.fault == "wrong"

    async def start(self, core: Core, previous: Module | None) -> None:
        await self._misbehaves("start")

    async def stop(self) -> None:
        await self._misbehaves("stop")

    async def tick(self) -> None:
        await self._misbehaves("tick")

    def report(self) -> dict[str, Any]:
        self._raises("report")
        return {}

    def on_request(self, x: Exchange) -> Answer | None:
        self._raises("on_request")
        return "hello" if self._is_wrong("on_request") else None  # type: ignore[return-value]

    async def prepare(self, x: Exchange) -> Answer | None:
        wrong: Answer | None = await self._misbehaves("prepare", {"choices": []})
        return wrong

    async def around(self, x: Exchange, call: Call) -> Answer:
        wrong: Answer | None = await self._misbehaves("around", Answer())
        if wrong is not None:
            return wrong
        answer = await call(x)
        if self.settings.hook == "after":
            return await self._misbehaves("after")  # type: ignore[no-any-return]
        if self._is_wrong("kind"):
            obj = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "whole"}}]}
            return Answer(obj=obj) if x.stream else Answer(events=_nothing())
        return answer

    def on_response(self, x: Exchange, answer: Answer) -> None:
        self._raises("on_response")
        if self._is_wrong("on_response"):
            answer.obj = "hello"  # type: ignore[assignment]
            answer.changed = True

    def on_delta(self, x: Exchange, delta: Delta) -> None:
        self._raises("on_delta")
        if self._is_wrong("on_delta"):
            delta.obj = ["hello"]  # type: ignore[assignment]
            delta.changed = True

    def on_finish(self, x: Exchange) -> None:
        self._raises("on_finish")


async def _nothing() -> Any:
    return
    yield


@pytest.fixture(autouse=True)
def with_unruly(monkeypatch: pytest.MonkeyPatch, other_packages: None) -> None:
    point = EntryPoint("unruly", "tests.chute.test_contained_modules:Unruly", "stockyard.modules")
    monkeypatch.setattr("instance.chute.discovery.entry_points", lambda group: [point])
    Unruly.hung = 0


HOOKS = [
    ("on_request", "raises", "RuntimeError"),
    ("on_request", "wrong", "WrongAnswer"),
    ("prepare", "raises", "RuntimeError"),
    ("prepare", "hangs", "ModuleHung"),
    ("prepare", "wrong", "WrongAnswer"),
    ("around", "raises", "RuntimeError"),
    ("around", "hangs", "ModuleHung"),
    ("around", "wrong", "WrongAnswer"),
    ("after", "raises", "RuntimeError"),
    ("after", "hangs", "ModuleHung"),
    ("after", "wrong", "WrongAnswer"),
    ("kind", "wrong", "WrongAnswer"),
]
WHOLE = [("on_response", "raises", "RuntimeError"), ("on_response", "wrong", "WrongAnswer")]
STREAMED = [("on_delta", "raises", "RuntimeError"), ("on_delta", "wrong", "WrongAnswer")]
CASES = [(*case, stream) for stream in (False, True) for case in HOOKS + (STREAMED if stream else WHOLE)]


async def said(s: Running, stream: bool) -> tuple[str, str]:
    """(text, trace id) of one call by the official SDK."""
    ask: dict[str, Any] = {"model": s.model, "messages": [{"role": "user", "content": "hi"}]}
    raw = await s.sdk().chat.completions.with_raw_response.create(**ask, stream=stream)
    trace_id = raw.headers["x-stockyard-trace-id"]
    if not stream:
        return raw.parse().choices[0].message.content, trace_id
    parts = [chunk.choices[0].delta.content or "" async for chunk in raw.parse() if chunk.choices]
    return "".join(parts), trace_id


def failures(trace: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (entry["hook"], entry["detail"])
        for entry in trace["decisions"]
        if (entry["module"], entry["action"]) == ("unruly", "module_error")
    ]


@pytest.mark.parametrize(("hook", "fault", "error", "stream"), CASES)
async def test_one_that_fails_open_is_skipped_and_the_decisions_say_so(
    hook: str, fault: str, error: str, stream: bool
) -> None:
    async with running({"unruly": {"hook": hook, "fault": fault}}) as s:
        s.mock.script(text(WORDS))
        content, trace_id = await said(s, stream)
        assert content == WORDS
        assert len(s.mock.calls) == 1, "an answer that was there is not asked for again"
        trace = await s.trace(trace_id)
        known = {"after": "around", "kind": "around"}.get(hook, hook)
        assert failures(trace) == [(known, {"error": error, "on_error": "open"})]
        assert trace["status"] == "ok"
        row = (await s.http(s.admin_key).get("/api/proxy/modules/unruly")).json()
        assert (row["errors"], row["last_error"].partition(":")[0]) == (1, error)


@pytest.mark.parametrize(("hook", "fault", "error", "stream"), CASES)
async def test_one_that_fails_closed_refuses_the_call(hook: str, fault: str, error: str, stream: bool) -> None:
    async with running({"unruly": {"hook": hook, "fault": fault, "on_error": "closed"}}) as s:
        s.mock.script(text(WORDS))
        if hook == "on_delta":
            with pytest.raises(openai.APIError) as broken:
                await said(s, stream)
            body: Any = broken.value.body
        else:
            with pytest.raises(openai.InternalServerError) as refused:
                await said(s, stream)
            assert refused.value.status_code == 503
            assert refused.value.response.headers["x-stockyard-module"] == "unruly"
            body = refused.value.body
        assert body["code"] == "module_failed"
        (trace,) = await s.recent_traces(1)
        known = {"after": "around", "kind": "around"}.get(hook, hook)
        assert failures(trace) == [(known, {"error": error, "on_error": "closed"})]
        assert (trace["status"], trace["error"]["code"]) == ("blocked", "module_failed")
        assert len(s.mock.calls) == (0 if hook in ("on_request", "prepare", "around") else 1)
        await s.configure({"unruly": False})
        assert (await said(s, stream))[0], "the next call is not affected"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("on_error", ["open", "closed"])
async def test_at_the_end_of_a_call_there_is_nothing_to_refuse(on_error: str, stream: bool) -> None:
    async with running({"unruly": {"hook": "on_finish", "on_error": on_error}}) as s:
        s.mock.script(text(WORDS))
        content, trace_id = await said(s, stream)
        assert content == WORDS
        assert failures(await s.trace(trace_id)) == [("on_finish", {"error": "RuntimeError", "on_error": on_error})]


async def test_a_caller_who_leaves_while_a_module_hangs_is_a_caller_who_left() -> None:
    async with running({"unruly": {"hook": "prepare", "fault": "hangs"}}) as s:
        call = asyncio.create_task(s.chat())

        async def hangs() -> bool:
            return Unruly.hung == 1

        await until(hangs)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

        async def recorded() -> bool:
            return bool(await s.recent_traces(1))

        await until(recorded)
        (trace,) = await s.recent_traces(1)
        assert trace["http_status"] == 499


async def test_what_has_a_limit_of_its_own_is_no_hanging(monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue's wait, a repeated attempt's pause, a slow provider and a fixture's delay are longer than any module may hang here."""
    monkeypatch.setattr(Module, "hang_s", 0.3)
    limits = {"limits": [{"by": "key", "requests": 60, "per": "minute", "burst": 1}], "queue_s": 30}
    fixture = {"name": "slow", "contains": "fixture", "text": "late", "delay_s": 0.8}
    async with running({"rateshield": limits, "retry": {"base_delay_s": 0.8}, "mockllm": {"fixtures": [fixture]}}) as s:
        answers = await asyncio.gather(s.chat("one"), s.chat("two"))
        s.mock.script(status(503, headers={"retry-after": "1"}), delay(0.8, "after all"))
        answers += [await s.chat("three"), await s.chat("a fixture", stream=True), await s.chat("the fixture")]
        assert [answer.status_code for answer in answers] == [200] * 5
        for trace in await s.recent_traces(5):
            assert "module_error" not in {entry["action"] for entry in trace["decisions"]}
