"""semanticcache: answers a question again that was asked in other words."""

from __future__ import annotations

from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import orjson
import re2
from pydantic import Field, field_validator

from instance.chute.answer import JSON, Answer
from instance.chute.embedding.embedder import Embedder, embedder_of
from instance.chute.embedding.late import EmbedderLate, note_late
from instance.chute.exact_bytes import exact
from instance.chute.exchange import Exchange
from instance.chute.expressions import require_re2
from instance.chute.module import Call, Module, ModuleSettings
from instance.chute.modules.caching.answer_store import Entry
from instance.chute.modules.caching.cache_request import MODE_HEADER, Scope, asked_mode, canonical, given_again
from instance.chute.modules.caching.cachelayer import TTL_MAX_S, is_keepable
from instance.chute.modules.caching.keep import Keep
from instance.chute.modules.caching.meaning_guards import difference
from instance.chute.modules.caching.meaning_store import MeaningStore, Partition, Question

if TYPE_CHECKING:
    from instance.chute.embedding.embedder import Vectors
    from instance.core.core import Core

QUESTION_MAX_CHARS = 2_000
"""Longer questions are not looked up: an embedding hears only the beginning of them."""
NEAR_MISS_BELOW = 0.05
DIGEST_FROM_BYTES = 512
PLAIN_FIELDS = 2
"""A message that has no more than these is a role and a content."""
_PLAIN = b'{"content":%b,"role":"user"}]'
_NOTHING_SAID = _PLAIN % b"null"
"""A plain question that is the last message in sorted JSON, and what stands in its place."""


class SemanticCache(Module):
    """Looks for a kept answer whose question means the same, among those of equal circumstances.

    Circumstances are the model, the system message, earlier turns, tools, the asked form and every other parameter, and with
    whom answers are shared. A question is near enough from `threshold` on (cosine of the bundled embedder) and must agree in
    numbers, negation, names, quotations and opposites, which embeddings hear badly. A question whose vector does not come in time is
    asked as if nothing was kept, and its answer is not kept.
    """

    name: ClassVar[str] = "semanticcache"
    category: ClassVar[str] = "caching"
    group: ClassVar[int] = 9
    summary: ClassVar[str] = "Answers again what was asked before in other words"
    rejects: ClassVar[tuple[str, ...]] = ("bad_request",)
    kinds: ClassVar[frozenset[str]] = frozenset(("chat",))
    tick_s: ClassVar[float] = 60.0

    class Settings(ModuleSettings):
        threshold: float = Field(
            default=0.82, ge=0.5, le=1, description="Least similarity of a hit; calibrated on the project's pairs."
        )
        ttl_s: int = Field(default=3600, ge=1, le=TTL_MAX_S, description="Seconds that an answer is kept.")
        max_entries: int = Field(default=10_000, ge=1, le=50_000, description="Answers in memory.")
        scope: Scope = Field(default="team", description="Who shares answers.")
        max_turns: int = Field(
            default=1, ge=1, le=100, description="Most messages of the user in a conversation that takes part."
        )
        guards: bool = Field(
            default=True, description="Ask for the same numbers, negation, names, quotations and opposites too."
        )
        exclude: list[Annotated[str, Field(min_length=1, max_length=1000)]] = Field(
            default=[], max_length=100, description="RE2 expressions of questions that are never answered from here."
        )

        @field_validator("exclude")
        @classmethod
        def _compiles(cls, expressions: list[str]) -> list[str]:
            return [require_re2(expression) for expression in expressions]

    settings: Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._exclude = [re2.compile(expression) for expression in settings.exclude]
        self._near_miss_from = settings.threshold - NEAR_MISS_BELOW
        self._max_turns = settings.max_turns
        self._ttl_s = settings.ttl_s
        self._scope: Scope = settings.scope
        self.store = MeaningStore(settings.max_entries)
        self._core: Core
        self._embedder: Embedder

    async def start(self, core: Core, previous: Module | None) -> None:
        self._core = core
        self._embedder = embedder_of(core)
        await self._embedder.load()
        if isinstance(previous, SemanticCache):
            self.store = previous.store
            self.store.max_entries = self.settings.max_entries

    async def tick(self) -> None:
        partitions = self.store.expire(self._core.clock.wall_ns())

        def settle(_: Any) -> None:
            for partition in partitions:
                partition.settle()

        await self._embedder.embed_then((), settle)

    def passes(self, x: Exchange) -> bool:
        messages = x.req.get("messages")
        if type(messages) is not list or len(messages) <= 2 * self._max_turns or MODE_HEADER in x.headers:
            return False  # no long talk, by its length alone
        return not self._question(x.req)

    async def around(self, x: Exchange, call: Call) -> Answer:
        mode = asked_mode(x)
        text = "" if mode == "skip" or x.only_native else self._question(x.req)
        if not text or (self._exclude and any(each.search(text) for each in self._exclude)):
            return await call(x)
        circumstances = self._circumstances(x)
        store, mono_ns = self.store, self._core.clock.mono_ns
        began = mono_ns()
        partition = store.partition(circumstances)
        near: list[tuple[float, str]] = []
        try:
            if partition is None:
                (vector,) = await self._embedder.embed([text], x)
            else:
                search = partial(_near, partition, self._near_miss_from)
                vector, near = await self._embedder.embed_then((text,), search, x)
        except EmbedderLate as late:
            note_late(x, self, late, "miss")
            store.misses += 1
            if x.cache == "off":
                x.cache = "miss"
            return await call(x)
        x.waited_ns += mono_ns() - began
        question = Question(circumstances, text, vector)
        if near and mode != "refresh":
            answer = self._find(x, question, near)
            if answer is not None:
                return answer
        store.misses += 1
        if x.cache == "off":
            x.cache = "miss"
        answer = await call(x)
        keep = x.state["semanticcache"] = Keep(self, x, question, self._ttl_s)
        keep.take(answer)
        return answer

    def on_finish(self, x: Exchange) -> None:
        keep: Keep[Question] | None = x.state.pop("semanticcache", None)
        entry = keep.finish(self._core.clock.wall_ns()) if keep is not None else None
        if keep is not None and entry is not None:
            self.store.put(keep.key, entry)

    def _question(self, req: JSON) -> str:
        """The last message when it is the user's and plain text, in a conversation short enough; empty for any other."""
        messages = req.get("messages")
        last: Any = messages[-1] if type(messages) is list and messages else None
        if type(last) is not dict or last.get("role") != "user":
            return ""
        text: Any = last.get("content")
        if type(text) is not str:
            return ""
        if len(messages) > self._max_turns:  # type: ignore[arg-type]
            turns = 0
            for each in messages or ():
                if type(each) is dict and each.get("role") == "user":
                    turns += 1
            if turns > self._max_turns:
                return ""
        text = text.strip()
        return text if len(text) <= QUESTION_MAX_CHARS else ""

    def _circumstances(self, x: Exchange) -> bytes:
        """Everything beside the question that can change the answer: the canonical form without it, or its SHA-256 where that is long."""
        left = x.state.pop("canonical", None)
        req, scope = x.req, self._scope
        messages = req["messages"]
        last = messages[-1]
        if left is not None and left[0] is req and left[1] == scope and len(last) == PLAIN_FIELDS:
            before, found, behind = left[2].rpartition(_PLAIN % orjson.dumps(last["content"]))
            if found:
                data = before + _NOTHING_SAID + behind
                return data if len(data) <= DIGEST_FROM_BYTES else sha256(data).digest()
        asked = {**req, "messages": [*messages[:-1], {**last, "content": None}]}
        data = canonical(x, scope, asked)
        return exact(data) if len(data) <= DIGEST_FROM_BYTES else sha256(data).digest()

    def _find(self, x: Exchange, question: Question, found: list[tuple[float, str]]) -> Answer | None:
        least = self.settings.threshold
        closest: dict[str, Any] = {}
        for near in self.store.kept(question.partition, found, self._core.clock.wall_ns()):
            why = "similarity" if near.similarity < least else ""
            if not why and self.settings.guards:
                why = difference(question.text, near.text)
            if why:
                closest = closest or {"similarity": round(near.similarity, 4), "why": why}
                continue
            self.store.used(question.partition, near.text)
            self.store.hits += 1
            self.store.saved_nano += near.entry.cost_nano
            x.cache = "semantic"
            x.response_headers.append((b"x-stockyard-similarity", b"%.4f" % near.similarity))
            x.note(
                "hit", {"similarity": round(near.similarity, 4), "guard": "passed" if self.settings.guards else "off"}
            )
            return given_again(x, near.entry, self._core.clock)
        if closest:
            x.note("near_miss", closest)
        return None

    # --- as `Keep` sees it ------------------------------------------------------------------------------------------

    def keepable(self, obj: JSON) -> bool:
        return is_keepable(obj, tools=False)

    def landed(self, keep: Keep[Any], entry: Entry | None) -> None:
        """Nobody waits for another's call here."""


def _near(partition: Partition, least: float, vectors: Vectors) -> tuple[Any, list[tuple[float, str]]]:
    vector = vectors[0]
    return vector, partition.nearest(vector, least)
