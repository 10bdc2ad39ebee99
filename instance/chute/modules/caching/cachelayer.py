"""cachelayer: answers an equal request again without calling a provider."""

from __future__ import annotations

import asyncio
import unicodedata
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from instance.chute.answer import JSON, Answer
from instance.chute.exchange import Exchange
from instance.chute.module import Call, Module, ModuleSettings
from instance.chute.modules.caching.answer_store import AnswerStore, Entry
from instance.chute.modules.caching.cache_request import SECOND_NS, Scope, asked_mode, canonical, given_again
from instance.chute.modules.caching.keep import Keep
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.core.core import Core

TTL_MAX_S = 2_592_000


class CacheLayer(Module):
    """Exact-match cache: the same request, by everything that can change its answer, is answered from memory or disk.

    Equal requests at the same time are merged into one call. A stored answer serves whole and streamed calls.
    """

    name: ClassVar[str] = "cachelayer"
    category: ClassVar[str] = "caching"
    group: ClassVar[int] = 9
    summary: ClassVar[str] = "Answers an equal request again from memory or disk"
    rejects: ClassVar[tuple[str, ...]] = ("cache_miss", "bad_request")
    tick_s: ClassVar[float] = 60.0
    migrations: ClassVar[Path | None] = Path(__file__).parent / "cachelayer_migrations"

    class Settings(ModuleSettings):
        ttl_s: int = Field(default=3600, ge=1, le=TTL_MAX_S, description="Seconds that an answer is kept.")
        max_entries: int = Field(default=10_000, ge=1, le=1_000_000, description="Answers in memory, and on disk.")
        max_mb: int = Field(default=256, ge=1, le=65_536, description="Megabytes of answers in memory.")
        scope: Scope = Field(default="team", description="Who shares answers.")
        only_deterministic: bool = Field(default=False, description="Only requests with temperature 0 or a seed.")
        cache_tools: bool = Field(default=False, description="Keep answers that call tools too.")
        stream_tokens_per_s: int = Field(
            default=0, ge=0, le=100_000, description="Pace of replayed streams; 0: at once."
        )

    settings: Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._core: Core
        self.store: AnswerStore
        self._flights: dict[bytes, Keep[bytes]] = {}
        """By key the call that is running: an equal one waits for it."""
        self._ttl_s = settings.ttl_s
        self._scope: Scope = settings.scope
        self._only_deterministic = settings.only_deterministic

    async def start(self, core: Core, previous: Module | None) -> None:
        self._core = core
        settings = self.settings
        if isinstance(previous, CacheLayer):
            self.store = previous.store
            self._flights = previous._flights
            self.store.max_entries = settings.max_entries
            self.store.max_bytes = settings.max_mb << 20
        else:
            self.store = AnswerStore(core, settings.max_entries, settings.max_mb << 20)
            await self.store.open()

    async def stop(self) -> None:
        await self.store.flush()

    async def tick(self) -> None:
        await self.store.expire(self._core.clock.wall_ns())

    async def around(self, x: Exchange, call: Call) -> Answer:
        mode = asked_mode(x)
        if mode == "skip" or x.only_native or (self._only_deterministic and not _is_deterministic(x.req)):
            x.cache = "bypass"
            if mode == "only":
                raise _nothing_kept()
            return await call(x)
        ttl_s = self._ttl_s
        asked_ttl = x.headers.get(b"x-stockyard-cache-ttl-s")
        if asked_ttl is not None:
            ttl_s = _ttl(asked_ttl)
        key = self._key(x)
        flights, store = self._flights, self.store
        if mode != "refresh" and (store.may_have(key) or key in flights):
            now_ns = self._core.clock.wall_ns()
            entry = store.in_memory(key, now_ns)
            if entry is None and store.may_be_on_disk(key, now_ns):
                entry = await store.from_disk(key, now_ns)
            if entry is None and key in flights:
                entry = await self._merged(x, flights[key])
            if entry is not None:
                return self._hit(x, entry)
        x.cache = "miss"
        store.misses += 1
        if mode == "only":
            raise _nothing_kept()
        keep = Keep(self, x, key, ttl_s)
        if mode != "refresh" and key not in flights:
            keep.leads = True
            flights[key] = keep
        try:
            answer = await call(x)
        except BaseException:
            keep.fail()
            raise
        x.state["cachelayer"] = keep
        keep.take(answer, x.state.get("semanticcache"))
        return answer

    def _key(self, x: Exchange) -> bytes:
        """SHA-256 over the scope and all of the request that can change its answer, in canonical JSON, NFC."""
        req, scope = x.req, self._scope
        data = canonical(x, scope, req)
        x.state["canonical"] = req, scope, data  # for semanticcache, which comes next
        if not data.isascii():
            data = unicodedata.normalize("NFC", data.decode()).encode()
        return sha256(data).digest()

    async def _merged(self, x: Exchange, leading: Keep[bytes]) -> Entry | None:
        """What an equal call that is running now gets; `None` when its answer is not kept."""
        flight = leading.flight
        if flight is None:
            flight = leading.flight = asyncio.get_running_loop().create_future()
        clock = self._core.clock
        started_ns = clock.mono_ns()
        try:
            with x.elsewhere():
                async with asyncio.timeout(x.remaining_s()):
                    return await asyncio.shield(flight)
        except TimeoutError:
            return None
        finally:
            x.waited_ns += clock.mono_ns() - started_ns

    def _hit(self, x: Exchange, entry: Entry) -> Answer:
        x.cache = "hit"
        self.store.hits += 1
        self.store.saved_nano += entry.cost_nano
        x.note("hit", {"age_s": max(0, self._core.clock.wall_ns() - entry.created_ns) // SECOND_NS})
        return given_again(x, entry, self._core.clock, self.settings.stream_tokens_per_s)

    def on_finish(self, x: Exchange) -> None:
        keep: Keep[bytes] | None = x.state.pop("cachelayer", None)
        if keep is None:
            return
        entry = keep.finish(self._core.clock.wall_ns())
        if entry is not None:
            self.store.put(keep.key, entry)
            if not keep.text_was_changed:
                self.store.write_behind(keep.key, entry)
        if keep.leads:
            self.landed(keep, entry)

    # --- as `Keep` sees it ------------------------------------------------------------------------------------------

    def keepable(self, obj: JSON) -> bool:
        return is_keepable(obj, tools=self.settings.cache_tools)

    def landed(self, keep: Keep[Any], entry: Entry | None) -> None:
        """Those who get nothing then call themselves."""
        flights = self._flights
        if flights.get(keep.key) is keep:
            del flights[keep.key]
        flight = keep.flight
        if flight is not None and not flight.done():
            flight.set_result(entry)


def _is_deterministic(req: JSON) -> bool:
    return req.get("temperature") == 0 or req.get("seed") is not None


def is_keepable(obj: JSON, *, tools: bool) -> bool:
    """Whether an answer is finished by itself and not empty; one that calls tools only where `tools` is set."""
    choices = obj.get("choices")
    if not choices:
        return False
    for choice in choices:
        message = choice.get("message")
        if not message:
            return False
        calls = message.get("tool_calls") or message.get("function_call")
        if calls:
            if not tools:
                return False
        elif not message.get("content"):
            return False
        if choice.get("finish_reason") not in ("stop", "tool_calls", "function_call"):
            return False
    return True


def _ttl(asked: bytes) -> int:
    if not asked.isdigit() or len(asked) > len(str(TTL_MAX_S)) or not 1 <= int(asked) <= TTL_MAX_S:
        raise StockyardError(
            "bad_request", f"It is a number of seconds from 1 to {TTL_MAX_S}.", param="X-Stockyard-Cache-Ttl-S"
        )
    return int(asked)


def _nothing_kept() -> StockyardError:
    return StockyardError("cache_miss", "Only a kept answer was asked for, and there is none.", retryable=False)
