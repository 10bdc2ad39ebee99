"""Canaries: fixed prompts, asked each day, whose answers are compared with their own past."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from statistics import fmean
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field

from instance.chute.embedding.late import EmbedderLate
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed, to_error
from instance.chute.modules.observe import drift_store as store
from instance.chute.modules.observe.drift_events import DriftEvents
from instance.chute.modules.observe.drift_series import Finding
from instance.chute.operations import CHAT
from instance.chute.record import estimate_usage, write_record
from instance.core.errors import StockyardError
from instance.core.ids import new_id

if TYPE_CHECKING:
    from instance.chute.embedding.embedder import Embedder
    from instance.core.core import Core

TIMEOUT_S = 60.0
NS_PER_S = 10**9
AGAIN_NS = 3600 * NS_PER_S
EMBEDDED_CHARS = 2000
"""What of an answer is embedded."""
PAST_MIN = 5
"""With fewer past answers nothing is compared."""
SIMILARITY_MARGIN = 0.1
LENGTH_TIMES = 2.0

log = logging.getLogger("stockyard.modules")


class Canary(BaseModel):
    """A prompt that is asked each day."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=100, description="Its name.")
    model: str = Field(min_length=1, max_length=256, description="Whom it is asked: provider/model or a bare name.")
    prompt: str = Field(min_length=1, max_length=20_000, description="What is asked, at temperature 0.")


class CanaryFailed(Exception):
    """There was no answer; the message says why."""


class DailyCanaries:
    """Asks each canary once a day, from an hour of the local day on."""

    def __init__(
        self, core: Core, canaries: Sequence[Canary], hour: int, embedder: Embedder | None, events: DriftEvents
    ) -> None:
        self._core = core
        self._canaries = canaries
        self._hour = hour
        self._embedder = embedder
        self._events = events
        self._not_before_ns: dict[str, int] = {}

    async def ask(self) -> None:
        """Ask those that are due, and tell of answers that are unlike the past ones."""
        core = self._core
        now_ns = core.clock.wall_ns()
        local = datetime.fromtimestamp(now_ns / NS_PER_S).astimezone()
        if local.hour < self._hour:
            return
        today = local.date().isoformat()
        for canary in self._canaries:
            if self._not_before_ns.get(canary.name, 0) > now_ns:
                continue
            asked_on, lengths, vectors = await core.database.read(partial(store.canary_past, name=canary.name))
            if asked_on == today:
                self._not_before_ns[canary.name] = now_ns + AGAIN_NS
                continue
            try:
                text, label = await ask(core, canary)
            except CanaryFailed as failure:
                self._not_before_ns[canary.name] = now_ns + AGAIN_NS
                log.warning("canary %s was not answered: %s", canary.name, failure)
                continue
            vector = None
            if self._embedder is not None and text:
                try:
                    vector = (await self._embedder.embed([text[:EMBEDDED_CHARS]]))[0]
                except EmbedderLate as late:
                    log.warning("canary %s is compared by its length alone: %s", canary.name, late.reason)
            finding = compared(canary.name, text, vector, lengths, vectors)
            if finding is not None:
                await self._events.begin(label, finding)
            lengths = [*lengths, len(text.split())]
            vectors = [*vectors, *([vector] if vector is not None else [])]
            await core.writer.write(
                partial(store.save_canary, name=canary.name, asked_on=today, lengths=lengths, vectors=vectors)
            )


async def ask(core: Core, canary: Canary) -> tuple[str, str]:
    """The answer's text, and who gave it. The call has a trace and a cost like any other. Raises `CanaryFailed`."""
    services = core.services
    plan = services["registry"].plan("chat")
    x = Exchange(new_id("tr_"), perf_counter_ns(), core.clock.wall_ns(), "/v1/chat/completions", {}, CHAT)
    x.request_id = "req_" + x.id[3:]
    x.plan = plan
    x.tags = {"canary": canary.name}
    x.model_requested = canary.model
    failure: StockyardError | None = None
    body = b""
    plan.in_flight += 1
    try:
        x.targets = services["providers"].resolve(canary.model)[:1]
        messages = [{"role": "user", "content": canary.prompt}]
        x.req = {"model": x.targets[0].model, "messages": messages, "temperature": 0}
        x.raw = orjson.dumps(x.req)
        x.change()
        async with asyncio.timeout(TIMEOUT_S):
            x.answer = await plan.inner(x)
        body = x.answer.body or b""
    except StockyardError as error:
        failure = error
    except CallFailed as error:
        failure = to_error(error)
    except TimeoutError:
        failure = StockyardError("timeout_total", f"There was no answer within {TIMEOUT_S:.0f} s.")
    finally:
        plan.in_flight -= 1
        if plan.retired is not None and not plan.in_flight:
            plan.retired()
    if failure is not None:
        x.status, x.http_status, x.error_code, x.error_message = "error", failure.status, failure.code, failure.message
    if x.attempts:
        estimate_usage(x)
        services["price"](x)
        services["billing"].settle(x)
        write_record(core.journal, x, body)
    if failure is not None:
        raise CanaryFailed(failure.message)
    choices = (x.answer.obj or {}).get("choices") if x.answer is not None else None
    content = (choices[0].get("message") or {}).get("content") if choices else None
    return (content if isinstance(content, str) else ""), x.targets[0].label


def compared(name: str, text: str, vector: Any, lengths: Sequence[int], vectors: Sequence[Any]) -> Finding | None:
    """What a new answer to a canary is unlike the past ones in; `None` when it is like them, or they are too few."""
    words = len(text.split())
    metric = f"canary {name}"
    if vector is not None and len(vectors) >= PAST_MIN:
        usual = [
            fmean(float(one @ other) for place, other in enumerate(vectors) if place != own)
            for own, one in enumerate(vectors)
        ]
        now = fmean(float(vector @ other) for other in vectors)
        if now < min(usual) - SIMILARITY_MARGIN:
            shown = (f"similarity {min(usual):.2f} to {max(usual):.2f}", f"similarity {now:.2f}")
            return Finding(metric, *shown, None, round(min(usual) - now, 3), True)
    if len(lengths) >= PAST_MIN and not min(lengths) / LENGTH_TIMES <= words <= max(lengths) * LENGTH_TIMES:
        return Finding(metric, f"{min(lengths)} to {max(lengths)} words", f"{words} words", None, None, True)
    return None
