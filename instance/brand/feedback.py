"""Judgement on answers: taken from callers, tied to the call's trace, and handed to those who act on it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING

import orjson

from instance.brand import feedback_store
from instance.core.errors import StockyardError
from instance.core.ids import new_id
from instance.core.secrets import SecretError
from instance.core.timestamps import NS_PER_S
from instance.core.writer import LedgerEvent

if TYPE_CHECKING:
    from instance.core.core import Core
    from instance.lookout.app import Lookout
    from instance.lookout.call_lookup import KnownCall

TOKEN_CONTEXT = b"feedback token"
RECENT_MAX = 10_000
RECENT_NS = 86_400 * NS_PER_S
"""How far back `thumbs_down_pct` knows, which is the longest window of an alert."""
PRUNE_ROWS = 500


@dataclass(frozen=True, slots=True)
class Judgement:
    """What somebody says of an answer. `scale` 1: thumbs from -1 to 1; 5: from 1 to 5. `rater` tells people apart."""

    rating: int
    scale: int
    rater: str
    user_email: str = ""
    tags: Sequence[str] = field(default=())
    comment: str = ""
    correction: str = ""
    source: str = "explicit"
    score: float | None = None

    @property
    def value(self) -> float:
        """From -1 to 1."""
        if self.score is not None:
            return self.score
        return (self.rating - 3) / 2 if self.scale == 5 else float(self.rating)


class Feedback:
    """`submit` takes a judgement; tokens let a browser give one without a key."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._recent: deque[tuple[int, float, str, str]] = deque(maxlen=RECENT_MAX)
        """When, from -1 to 1, and whose answer it was about."""
        self._loading: asyncio.Task[None] | None = None

    def thumbs_down_pct(self, narrowed: Mapping[str, str], window_s: int) -> float | None:
        """Of the judgements of the last seconds the share, in percent, that is negative; `None` without any, or while they are
        still read from the database, which the first question begins."""
        if self._loading is None:
            self._loading = asyncio.get_running_loop().create_task(self._load())
        if not self._loading.done():
            return None
        since_ns = self._core.clock.wall_ns() - window_s * NS_PER_S
        provider, model = narrowed.get("provider"), narrowed.get("model")
        values = [
            value
            for at_ns, value, by, of in self._recent
            if at_ns >= since_ns and provider in (None, by) and model in (None, of, f"{by}/{of}")
        ]
        return 100.0 * sum(value < 0 for value in values) / len(values) if values else None

    async def _load(self) -> None:
        since_ns = self._core.clock.wall_ns() - RECENT_NS
        rows = await self._core.database.read(lambda conn: feedback_store.recent(conn, since_ns, RECENT_MAX))
        known = set(rows)
        self._recent = deque([*reversed(rows), *(one for one in self._recent if one not in known)], maxlen=RECENT_MAX)

    @property
    def _lookout(self) -> Lookout:
        lookout: Lookout = self._core.services["lookout"]
        return lookout

    async def call(self, name: str, team: str = "", key_id: str = "") -> KnownCall:
        """The call with this trace id, request id or answer id (the key's own first). Raises `unknown_id`."""
        call = await self._lookout.find_call(name, team, key_id)
        if call is None:
            raise StockyardError("unknown_id", f"No call here has the id {name[:64]!r}.")
        return call

    def token(self, trace_id: str, ttl_s: int) -> str:
        """A signed text that lets whoever holds it judge this call, once, for so many seconds."""
        expires_ns = self._core.clock.wall_ns() + ttl_s * NS_PER_S
        return self._core.secrets.seal(orjson.dumps([trace_id, expires_ns]), TOKEN_CONTEXT).hex()

    def opened(self, token: str) -> tuple[str, int]:
        """The trace id and expiry of a token. Raises `unauthorized` for one that is none, or too old."""
        try:
            trace_id, expires_ns = orjson.loads(self._core.secrets.open(bytes.fromhex(token), TOKEN_CONTEXT))
        except (SecretError, ValueError):
            raise StockyardError("unauthorized", "The token is not one of this instance.", param="token") from None
        if expires_ns < self._core.clock.wall_ns():
            raise StockyardError("unauthorized", "The token is too old.", param="token")
        return str(trace_id), int(expires_ns)

    async def submit(
        self,
        call: KnownCall,
        judgement: Judgement,
        actor: str,
        *,
        replaces: bool = True,
        token: tuple[str, int] | None = None,
    ) -> str:
        """Store a judgement and act on it; its id. `token` and its expiry are used up with it.

        Raises `conflict` when the rater judged this call before and may not replace that, or the token was used before.
        """
        row = self._row(call, judgement)
        detail = {
            "trace_id": call.trace_id,
            "rating": judgement.rating,
            "scale": judgement.scale,
            "source": judgement.source,
        }
        event = LedgerEvent("feedback", actor, f"feedback:{row['id']}", "submit", detail, call.trace_id)
        used = (sha256(token[0].encode()).digest(), token[1]) if token is not None else None

        def write(connection: sqlite3.Connection) -> None:
            if used is not None and not feedback_store.use_token(connection, *used, row["created_at_ns"]):
                raise StockyardError("conflict", "The token was used before.", param="token")
            if not replaces and feedback_store.of_rater(connection, call.trace_id, judgement.rater) is not None:
                raise StockyardError("conflict", "You judged this answer before.")
            feedback_store.save(connection, row)
            self._lookout.rated(connection, call.trace_id, feedback_store.mean_score(connection, call.trace_id))

        await self._core.writer.write(write, [event])
        if judgement.source == "explicit":
            self._recent.append((row["created_at_ns"], row["score"], row["provider"], row["model"]))
            await self._act(call, judgement)
        return str(row["id"])

    async def _act(self, call: KnownCall, judgement: Judgement) -> None:
        services = self._core.services
        experiments = services.get("experiments")
        if call.variant and experiments is not None:
            experiments.rate(call.experiment, call.variant, judgement.value)
        if judgement.value < 0 and call.answer_id:
            await services["forget_answer"](call.answer_id)

    def _row(self, call: KnownCall, judgement: Judgement) -> feedback_store.Row:
        return {
            "id": new_id("fb_"),
            "trace_id": call.trace_id,
            "request_id": call.request_id,
            "answer_id": call.answer_id,
            "rater": judgement.rater,
            "source": judgement.source,
            "user_email": judgement.user_email,
            "key_id": call.key_id,
            "team_id": call.team,
            "provider": call.provider,
            "model": call.model,
            "template": call.template,
            "experiment": call.experiment,
            "variant": call.variant,
            "rule": call.rule,
            "rating": judgement.rating,
            "scale": judgement.scale,
            "score": judgement.value,
            "tags": orjson.dumps(list(judgement.tags)).decode(),
            "comment": judgement.comment,
            "correction": judgement.correction,
            "review": "open" if judgement.value < 0 else "",
            "note": "",
            "created_at_ns": self._core.clock.wall_ns(),
        }

    async def prune(self, before_ns: int) -> int:
        """Remove judgements that are older; how many."""
        removed = 0
        while True:
            count = await self._core.writer.write(partial(feedback_store.prune, before_ns=before_ns, limit=PRUNE_ROWS))
            removed += count
            if count < PRUNE_ROWS:
                return removed
