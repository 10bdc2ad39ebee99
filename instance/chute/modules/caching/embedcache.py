"""embedcache: asks for each vector once, whatever requests it comes in."""

from __future__ import annotations

import asyncio
import sys
from array import array
from base64 import b64decode
from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import orjson
from pydantic import Field

from instance.chute.answer import JSON, Answer
from instance.chute.cost_lines import cost_lines
from instance.chute.exchange import Exchange
from instance.chute.module import Call, Module, ModuleSettings
from instance.chute.modules.caching.cache_request import whose
from instance.chute.modules.caching.vector_store import Vector, VectorStore
from instance.chute.usage import Usage
from instance.core.money import line_cost_nano

if TYPE_CHECKING:
    from instance.core.core import Core

SECOND_NS = 1_000_000_000
NOT_IN_KEY = frozenset(("input", "encoding_format", "user", "model"))
HEADER = b"x-stockyard-embed-cache"


class EmbedCache(Module):
    """Keeps the vector of each input of `/v1/embeddings`, and sends only those inputs on that are not known, each once.

    What changes a vector (model, dimensions, the provider's own parameters) is part of its key. The usage of an answer
    counts what was sent. Two calls that want the same vector at once wait for one.
    """

    name: ClassVar[str] = "embedcache"
    category: ClassVar[str] = "caching"
    group: ClassVar[int] = 9
    summary: ClassVar[str] = "Asks for the vector of each text once"
    default_enabled: ClassVar[bool] = True
    kinds: ClassVar[frozenset[str]] = frozenset(("embeddings",))
    tick_s: ClassVar[float] = 300.0

    class Settings(ModuleSettings):
        ttl_s: int = Field(default=604_800, ge=1, le=31_536_000, description="Seconds that a vector is kept.")
        max_entries: int = Field(default=100_000, ge=1, le=10_000_000, description="Vectors in memory.")
        max_mb: int = Field(default=64, ge=1, le=65_536, description="Megabytes of vectors in memory.")
        scope: Literal["global", "team"] = Field(
            default="global",
            description="Who shares vectors. One reveals no more than its own text, which who asks has already.",
        )

    settings: Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.store = VectorStore(settings.max_entries, settings.max_mb << 20)
        self._flights: dict[bytes, asyncio.Future[Vector | None]] = {}
        self._core: Core

    async def start(self, core: Core, previous: Module | None) -> None:
        self._core = core
        if isinstance(previous, EmbedCache):
            self.store, self._flights = previous.store, previous._flights
            self.store.max_entries, self.store.max_bytes = self.settings.max_entries, self.settings.max_mb << 20

    async def tick(self) -> None:
        self.store.expire(self._core.clock.wall_ns())

    def passes(self, x: Exchange) -> bool:
        """Vectors of other numbers than floats (int8, bits), which are not kept: in base64 nothing tells them apart."""
        return x.req.get("output_dtype") not in (None, "float")

    async def around(self, x: Exchange, call: Call) -> Answer:
        given = x.req["input"]
        single = isinstance(given, str) or (isinstance(given, list) and isinstance(given[0], int))
        inputs: list[Any] = [given] if single else given
        base = self._base(x)
        keys = [sha256(base + orjson.dumps(item)).digest() for item in inputs]
        found = self._known(keys)
        cached = sum(key in found for key in keys)
        await self._await_others(x, [key for key in keys if key not in found], found)
        wanted: dict[bytes, Any] = {key: item for key, item in zip(keys, inputs, strict=True) if key not in found}
        self.store.hits += cached
        self.store.misses += len(wanted)
        x.response_headers.append((HEADER, b"%d/%d" % (cached, len(keys))))
        x.cache = "embed" if cached else "miss"
        answer: Answer | None = None
        if wanted:
            answer = await self._ask(x, call, wanted, found, whole=len(wanted) == len(keys))
            if any(key not in found for key in keys):
                return answer if len(wanted) == len(keys) else await self._again(x, call, answer)
        saved = sum(found[key].cost_nano for key in dict.fromkeys(keys) if key not in wanted)
        x.saved_nano += saved
        self.store.saved_nano += saved
        if len(wanted) < len(keys):
            x.note("embed", {"hits": cached, "misses": len(wanted)})
        if len(wanted) == len(keys) and answer is not None:
            return answer
        return self._assembled(x, [found[key] for key in keys], answer)

    def _base(self, x: Exchange) -> bytes:
        """What beside the input decides on a vector."""
        target = x.targets[0].label if x.targets else x.model_requested
        asked = {name: value for name, value in x.req.items() if name not in NOT_IN_KEY}
        return orjson.dumps((target, whose(x, self.settings.scope), asked), option=orjson.OPT_SORT_KEYS)

    def _known(self, keys: Sequence[bytes]) -> dict[bytes, Vector]:
        now_ns = self._core.clock.wall_ns()
        return {key: vector for key in keys if (vector := self.store.get(key, now_ns)) is not None}

    async def _await_others(self, x: Exchange, keys: Sequence[bytes], found: dict[bytes, Vector]) -> None:
        """Take what calls that run now are already asking for; what they fail to get is asked for again."""
        flights = {key: self._flights[key] for key in keys if key in self._flights}
        if not flights:
            return
        began = self._core.clock.mono_ns()
        with x.elsewhere():
            done, _ = await asyncio.wait(flights.values(), timeout=x.remaining_s())
        x.waited_ns += self._core.clock.mono_ns() - began
        for key, flight in flights.items():
            vector = flight.result() if flight in done else None
            if vector is not None:
                found[key] = vector

    async def _ask(
        self, x: Exchange, call: Call, wanted: dict[bytes, Any], found: dict[bytes, Vector], *, whole: bool
    ) -> Answer:
        """Ask for the vectors that are not known, by the request as it is when those are all; they are in `found` afterwards, if the
        answer holds them and is of the model that was asked: another's, which stood in for it, are none of its own."""
        own = [key for key in wanted if key not in self._flights]
        loop = asyncio.get_running_loop()
        for key in own:
            self._flights[key] = loop.create_future()
        req, model = x.req, x.targets[0].model if x.targets else ""
        try:
            if not whole:
                x.req = {name: value for name, value in req.items() if name != "encoding_format"}
                x.req["input"] = list(wanted.values())
                x.change()
            answer = await call(x)
            if not x.usage.source:
                x.operation.measure(x)
            if answer.target is None or answer.target.model == model:
                self._take(x, answer, wanted, found)
            return answer
        finally:
            x.req = req
            for key in own:
                flight = self._flights.pop(key)
                if not flight.done():
                    flight.set_result(found.get(key))

    async def _again(self, x: Exchange, call: Call, answer: Answer) -> Answer:
        """The whole request, as the answer to a part of it does not go with what is known; that part is paid too."""
        price = self._core.services["prices"].of(answer.target) if answer.target is not None else None
        if price is not None:
            x.cost_lines += [(f"{self.name}:{what}", nano) for what, nano in cost_lines(price, x.usage)]
        x.usage = Usage()
        x.cache = "miss"
        x.response_headers[:] = [header for header in x.response_headers if header[0] != HEADER]
        return await call(x)

    def _take(self, x: Exchange, answer: Answer, wanted: dict[bytes, Any], found: dict[bytes, Vector]) -> None:
        """Keep the answer's vectors. One that has others than were asked for leaves nothing."""
        rows = (answer.obj or {}).get("data") or ()
        by_index = {row.get("index", place): row.get("embedding") for place, row in enumerate(rows)}
        vectors = [_numbers(by_index.get(place)) for place in range(len(wanted))]
        if len(rows) != len(wanted) or any(vector is None for vector in vectors):
            return
        target = answer.target
        price = self._core.services["prices"].of(target) if target is not None else None
        sizes = [max(1, len(item)) for item in wanted.values()]
        now_ns = self._core.clock.wall_ns()
        expires_ns = now_ns + self.settings.ttl_s * SECOND_NS
        for (key, _), vector, size in zip(wanted.items(), vectors, sizes, strict=True):
            assert vector is not None
            tokens = x.usage.input * size // sum(sizes)
            cost = line_cost_nano(tokens, price.input) if price is not None else 0
            found[key] = Vector(vector, now_ns, expires_ns, cost, x.model_requested, x.team)
            self.store.put(key, found[key])

    def _assembled(self, x: Exchange, vectors: Sequence[Vector], answer: Answer | None) -> Answer:
        """The answer that the caller asked for, of vectors from wherever they came."""
        obj: JSON = dict(answer.obj) if answer is not None and answer.obj is not None else {"object": "list"}
        obj["data"] = [
            {"object": "embedding", "index": index, "embedding": vector.numbers.tolist()}
            for index, vector in enumerate(vectors)
        ]
        if answer is None:
            obj["model"] = x.targets[0].model if x.targets else x.model_requested
            obj["usage"] = {"prompt_tokens": 0, "total_tokens": 0}
            x.usage.take(obj["usage"])
            x.status = "cache_hit"
            return Answer(obj=obj, native=x.operation.dialect)
        return Answer(headers=answer.headers, obj=obj, target=answer.target, native=answer.native)


def _numbers(value: Any) -> Sequence[float] | None:
    """A vector as numbers, whether it came as a list or in base64; `None` for anything else."""
    if isinstance(value, str):
        return _unpacked(value)
    if isinstance(value, list) and value and all(isinstance(number, (int, float)) for number in value):
        return value
    return None


def _unpacked(text: str) -> Sequence[float] | None:
    """Little-endian 32-bit floats in base64, as providers send them."""
    numbers = array("f")
    try:
        numbers.frombytes(b64decode(text, validate=True))
    except ValueError:
        return None
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers or None
