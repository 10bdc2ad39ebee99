"""timeout: limits on connecting, on the first token, on gaps inside a stream and on the whole call."""

from __future__ import annotations

import re
from asyncio import CancelledError, current_task
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from fnmatch import translate
from math import inf
from time import perf_counter
from typing import TYPE_CHECKING, cast

from pydantic import Field

from instance.chute.answer import Answer, Delta
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed
from instance.chute.module import ALL_KINDS, Call, Module, ModuleSettings
from instance.chute.time_limits import TimeLimit, TimeLimits
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from instance.core.core import Core

CACHED_MODELS = 1024
LIMIT_HEADER = b"x-stockyard-timeout-s"


class Timeout(Module):
    """Cancels what takes too long; the connection to the provider is closed then, not abandoned.

    Limits strike within 20 ms. A caller may lower the total with `X-Stockyard-Timeout-S`, never raise it.
    """

    name = "timeout"
    category = "reliability"
    group = 11
    summary = "Limits on connecting, the first token, gaps in a stream and the whole call"
    rejects = ("timeout_connect", "timeout_first_token", "timeout_stream", "timeout_total", "bad_request")
    default_enabled = True
    kinds = ALL_KINDS
    per_client = True

    class Settings(ModuleSettings):
        connect_s: float = Field(default=5.0, gt=0, le=300, description="Seconds for TCP and TLS.")
        first_token_s: float = Field(
            default=120.0,
            gt=0,
            le=86_400,
            description="Seconds from sending the request to the first content; for an answer that is not streamed, to the whole of it.",
        )
        between_tokens_s: float = Field(
            default=60.0, gt=0, le=86_400, description="Largest gap inside a stream, in seconds."
        )
        total_s: float = Field(
            default=600.0, gt=0, le=86_400, description="Seconds for the whole call, retries included."
        )
        slow_models: list[str] = Field(
            default=["o1*", "o3*", "*reasoner*", "*deep-research*"],
            description="Globs of models that think before they answer.",
        )
        slow_factor: float = Field(
            default=4.0, ge=1, le=100, description="What first_token_s is multiplied with for slow_models."
        )

    settings: Settings

    def __init__(self, settings: ModuleSettings) -> None:
        super().__init__(settings)
        own = self.settings
        self._slow = re.compile("|".join(translate(glob) for glob in own.slow_models)) if own.slow_models else None
        self._first_token_s: dict[str, float] = {}
        self._total_ns = round(own.total_s * 1e9)
        self._connect_s = own.connect_s
        self._limits = TimeLimits()

    async def start(self, core: Core, previous: Module | None) -> None:
        if isinstance(previous, Timeout):
            self._limits = previous._limits

    def on_request(self, x: Exchange) -> None:
        total_ns = self._total_ns
        if LIMIT_HEADER in x.headers:
            total_ns = min(total_ns, _asked_ns(x.headers[LIMIT_HEADER]))
        deadline_ns = x.started_ns + total_ns
        if not x.deadline_ns or deadline_ns < x.deadline_ns:
            x.deadline_ns = deadline_ns
        if x.connect_timeout_s != self._connect_s:
            x.connect_timeout_s = self._connect_s

    async def around(self, x: Exchange, call: Call) -> Answer:
        started = perf_counter()
        end = x.deadline_ns / 1e9 if x.deadline_ns else started + self.settings.total_s
        target = x.targets[0] if x.targets else None
        model = target.model if target is not None else x.model_requested
        own_s = target.provider.timeout_s if target is not None else None
        until = started + (self._first_token_s.get(model) or self._first_token_limit_s(model))
        kind = "timeout_first_token"
        if own_s is not None:
            # The provider's own limit on a whole call to it; another attempt may still do.
            until = min(until, started + own_s)
        if end < until:
            until = end
            kind = "timeout_total"
            limit = TimeLimit(x.task or current_task(), until)
        else:
            if own_s is not None:
                end = min(end, started + own_s)
            # A shim may move it while the provider says that it still loads the model.
            limit = x.state["first_token_limit"] = TimeLimit(x.task or current_task(), until)
        if until <= started:
            raise self._failed(x, kind, started)
        limits = self._limits
        running = limits.running
        running.add(limit)
        if not limits.armed:
            limits.arm()
        try:
            answer = await call(x)
        except CancelledError:
            if not limit.is_cause():
                raise
            raise self._failed(x, kind, started) from None
        except CallFailed as failure:
            if failure.kind == "connect_timeout":
                self._note(x, "connect", started)
            raise
        finally:
            running.discard(limit)
        if answer.events is not None:
            answer.events = self._watched(x, answer.events, answer.close, end)
        return answer

    async def _watched(
        self, x: Exchange, source: AsyncIterator[list[Delta]], give_up: Callable[[], None], end: float
    ) -> AsyncIterator[list[Delta]]:
        """The events of `source`; raises `CallFailed` when none comes in time. Time in which the caller takes them is not counted."""
        gap_s = self.settings.between_tokens_s
        limit = TimeLimit(None, inf)
        started = before = perf_counter()
        self._limits.add(limit)
        try:
            async with aclosing(cast("AsyncGenerator[list[Delta], None]", source)) as events:
                limit.task = current_task()
                limit.until = min(before + gap_s, end)
                async for batch in events:
                    limit.until = inf
                    yield batch
                    before = perf_counter()
                    if before >= end:
                        raise self._failed(x, "timeout_total", started)
                    limit.task = current_task()
                    limit.until = before + gap_s if before + gap_s < end else end
        except CancelledError:
            if not limit.is_cause():
                raise
            give_up()
            raise self._failed(x, "timeout_total" if perf_counter() >= end else "timeout_stream", before) from None
        finally:
            self._limits.remove(limit)

    def _first_token_limit_s(self, model: str) -> float:
        slow = self._slow is not None and self._slow.match(model.rpartition("/")[2]) is not None
        limit = self.settings.first_token_s * (self.settings.slow_factor if slow else 1.0)
        if len(self._first_token_s) >= CACHED_MODELS:
            self._first_token_s.clear()
        self._first_token_s[model] = limit
        return limit

    def _failed(self, x: Exchange, kind: str, since: float) -> CallFailed:
        self._note(x, kind.removeprefix("timeout_"), since)
        if x.attempts and x.attempts[-1]["error"] == "cancelled":
            x.attempts[-1]["error"] = kind
        return CallFailed(
            kind,
            x.targets[0] if x.targets else None,
            blames_target=kind != "timeout_total" or not self._lowered(x),
        )

    def _lowered(self, x: Exchange) -> bool:
        """Whether the caller's own limit is the one that holds: then nobody is to blame for missing it."""
        return LIMIT_HEADER in x.headers and x.deadline_ns < x.started_ns + self._total_ns

    def _note(self, x: Exchange, which: str, since: float) -> None:
        detail = {
            "which": which,
            "after_ms": round((perf_counter() - since) * 1e3),
            "target": x.targets[0].label if x.targets else "",
        }
        x.note("timeout", detail, module=self.name, hook="around")


def _asked_ns(value: bytes) -> int:
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise StockyardError("bad_request", "A timeout is a number of seconds above 0.", param="X-Stockyard-Timeout-S")
    return min(round(seconds * 1e9), 1 << 62)
