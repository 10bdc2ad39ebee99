"""mockllm: answers from fixtures in place of a provider, and records and replays a provider's answers."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import orjson
from pydantic import Field, field_validator

from instance.chute.answer import JSON, Answer
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed
from instance.chute.mock_kinds import embeddings
from instance.chute.mock_options import BadOption
from instance.chute.module import Call, Module, ModuleSettings
from instance.chute.modules.forge import recordings
from instance.chute.modules.forge.fixture import Fixture, FixtureMatch, asked_of, last_text
from instance.chute.modules.forge.fixture_answer import made, pieces_of, streamed
from instance.chute.modules.forge.recordings import Recording, Taking, request_hash
from instance.chute.modules.validate.json_schema import BadSchema
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.core.core import Core

SERVICE = "mockllm"
HEADER = b"x-stockyard-mock"
WAITING_MAX = 1000
FIXTURES_MAX = 1000
NS_PER_S = 10**9


class MockLLM(Module):
    """The first fixture that fits answers: with text, tool calls, JSON by the request's schema, a refusal, an error, a broken
    stream, at the pace it says. A call that none fits goes on, or as `on_miss` says. Nothing that it answers costs anything.

    In the mode `record` calls go through and their answers are kept; in `replay` only those are given again, and a call that
    was not recorded is refused, so that tests need no network. `/api/proxy/mockllm/fixtures` exports and imports both.
    """

    name: ClassVar[str] = "mockllm"
    category: ClassVar[str] = "forge"
    group: ClassVar[int] = 9
    summary: ClassVar[str] = "Answers from fixtures, and records and replays answers"
    rejects: ClassVar[tuple[str, ...]] = ("fixture_missing", "invalid_schema", "bad_request")
    kinds: ClassVar[frozenset[str]] = frozenset(("chat", "completions", "embeddings"))
    tick_s: ClassVar[float] = 1.0
    migrations: ClassVar[Path | None] = Path(__file__).parent / "mockllm_migrations"

    class Settings(ModuleSettings):
        mode: Literal["fixtures", "record", "replay"] = Field(
            default="fixtures", description="Answer from fixtures, record what providers answer, or replay it."
        )
        fixtures: list[Fixture] = Field(
            default=[],
            max_length=FIXTURES_MAX,
            description="Which calls are answered and with what; the first that fits.",
        )
        on_miss: Literal["pass", "default", "error"] = Field(
            default="pass",
            description="A call that no fixture fits goes on, gets default_text, or 404 fixture_missing.",
        )
        default_text: str = Field(
            default="(mock) nothing in the fixture set fits this request",
            max_length=10_000,
            description="The answer of on_miss: default.",
        )
        header_only: bool = Field(
            default=False,
            description="Only calls with `X-Stockyard-Mock: SET` are looked at, for the fixtures of that set.",
        )
        tokens_per_s: int = Field(default=0, ge=0, le=1_000_000, description="Pace of answers; 0: at once.")
        seed: int = Field(default=0, ge=0, le=2**31, description="Of everything random in answers.")

        @field_validator("fixtures")
        @classmethod
        def _named_once(cls, fixtures: list[Fixture]) -> list[Fixture]:
            names = [fixture.name for fixture in fixtures]
            for name in names:
                if names.count(name) > 1:
                    raise ValueError(f"two fixtures have the name {name!r}")
            return fixtures

    settings: Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._fixtures = [FixtureMatch(fixture) for fixture in settings.fixtures]
        self._default = FixtureMatch(Fixture(name="default", text="{{echo}}"))
        self._needs_hash = settings.on_miss == "error" or any(fixture.hash for fixture in settings.fixtures)
        self._header_only = settings.header_only
        self._misses_pass = settings.mode == "fixtures" and settings.on_miss == "pass"
        self._waiting: list[Recording] = []
        self._writing = asyncio.Lock()
        self._core: Core

    def hooks(self) -> tuple[str, ...]:
        own = self.settings
        if own.mode == "record":
            return ("around", "on_finish")
        return ("around",) if own.mode == "replay" or self._fixtures or own.on_miss != "pass" else ()

    def passes(self, x: Exchange) -> bool:
        if HEADER in x.headers:
            return False
        if self._header_only:
            return True
        if not self._misses_pass:
            return False
        text = last_text(x.req)
        model = x.model_requested
        for match in self._fixtures:  # noqa: SIM110 - a generator costs more than the question
            if match.may_fit(model, text):
                return False
        return True

    async def start(self, core: Core, previous: Module | None) -> None:
        self._core = core
        core.services[SERVICE] = self
        if isinstance(previous, MockLLM):
            await previous.flush()

    async def stop(self) -> None:
        if self._core.services.get(SERVICE) is self:
            del self._core.services[SERVICE]
        await self.flush()

    async def tick(self) -> None:
        await self.flush()

    async def flush(self) -> None:
        """Return when what was recorded is stored."""
        async with self._writing:
            while self._waiting:
                waiting, self._waiting = self._waiting, []
                await self._core.writer.write(partial(recordings.put, recordings=waiting))

    async def around(self, x: Exchange, call: Call) -> Answer:
        mode = self.settings.mode
        if mode == "record":
            return await self._record(x, call)
        if mode == "replay":
            return await self._replay(x)
        key = request_hash(x) if self._needs_hash else ""
        wanted = x.headers.get(HEADER, b"").decode("latin-1").strip()
        asked = asked_of(x, key)
        for match in self._fixtures:
            if wanted and wanted not in (match.fixture.set, match.fixture.name):
                continue
            groups = match.groups(asked, count=not x.dry)
            if groups is not None:
                return await self._answer(x, match, groups, asked.text)
        if self.settings.on_miss == "error":
            raise self._missing(key)
        if self.settings.on_miss == "default":
            return await self._answer(x, self._default, {}, self.settings.default_text)
        return await call(x)

    def _missing(self, key: str) -> StockyardError:
        return StockyardError(
            "fixture_missing",
            f"No fixture and no recording fits this call (hash {key}).",
            headers={"X-Stockyard-Mock-Hash": key},
        )

    def _mark(self, x: Exchange, name: str) -> None:
        x.response_headers.append((HEADER, name.encode("latin-1", "replace")))
        x.tags = {**x.tags, "mock": "true"}
        x.note("fixture", {"name": name})

    async def _answer(self, x: Exchange, match: FixtureMatch, groups: dict[str, str], echo: str) -> Answer:
        fixture = match.fixture
        clock = self._core.clock
        match.answered += 1
        self._mark(x, fixture.name)
        await self._wait(x, fixture.delay_s)
        if fixture.status >= 300:
            raise self._failure(x, fixture)
        created_s = clock.wall_ns() // NS_PER_S
        if x.kind == "embeddings":
            return self._vectors(x)
        seed = f"{self.settings.seed}:{fixture.name}:{match.answered}"
        try:
            obj = made(fixture, groups, x, echo, match.answered, seed, created_s)
        except BadSchema as error:
            raise StockyardError("invalid_schema", f"The fixture {fixture.name!r} needs a schema: {error}.") from None
        rate = self.settings.tokens_per_s if fixture.tokens_per_s is None else fixture.tokens_per_s
        x.usage.take(obj["usage"])
        if x.stream:
            return Answer(events=streamed(obj, x, clock, rate, fixture.break_after, fixture.malformed_after))
        if rate:
            await self._wait(x, len(pieces_of(obj)) / rate)
        return Answer(body=orjson.dumps(obj), obj=obj)

    async def _wait(self, x: Exchange, seconds: float) -> None:
        if seconds:
            began = self._core.clock.mono_ns()
            with x.elsewhere():
                await self._core.clock.sleep(seconds)
            x.waited_ns += self._core.clock.mono_ns() - began

    def _failure(self, x: Exchange, fixture: Fixture) -> Exception:
        headers = {b"retry-after": b"%d" % fixture.retry_after_s} if fixture.retry_after_s is not None else {}
        body: Any = fixture.body
        if body is None:
            kind = "rate_limit_error" if fixture.status == 429 else "server_error"
            body = {"error": {"message": f"mock status {fixture.status}", "type": kind, "param": None, "code": None}}
        target = x.targets[0] if x.targets else None
        data = body.encode() if isinstance(body, str) else orjson.dumps(body)
        return CallFailed("http", target, status=fixture.status, headers=headers, body=data, blames_target=False)

    def _vectors(self, x: Exchange) -> Answer:
        try:
            obj: JSON = embeddings(x.req, x.model_requested)
        except BadOption as error:
            raise StockyardError("bad_request", f"{error.message}.", param=error.param) from None
        x.usage.take(obj.get("usage"))
        return Answer(body=orjson.dumps(obj), obj=obj, native=x.operation.dialect)

    async def _record(self, x: Exchange, call: Call) -> Answer:
        taking = Taking(request_hash(x))
        answer = await call(x)
        if answer.status == 200 and not answer.content_type:
            x.state["mockllm"] = taking
            if answer.events is not None:
                answer.events = taking.watched(answer, answer.events)
            else:
                taking.whole(answer)
            x.note("record", {"hash": taking.key})
        return answer

    def on_finish(self, x: Exchange) -> None:
        taking: Taking | None = x.state.pop("mockllm", None)
        if taking is None or len(self._waiting) >= WAITING_MAX:
            return
        recording = taking.recording(x, self._core.clock.wall_ns())
        if recording is not None:
            self._waiting.append(recording)

    async def _replay(self, x: Exchange) -> Answer:
        key = request_hash(x)
        await self.flush()
        recording = await self._core.database.read(partial(recordings.find, key=key))
        if recording is None:
            raise self._missing(key)
        self._mark(x, f"recording-{key[:12]}")
        return recordings.played(recording, x, self._core.clock, self.settings.tokens_per_s)

    def report(self) -> dict[str, Any]:
        return {"answered": {match.fixture.name: match.answered for match in self._fixtures if match.answered}}
