"""idlekill: ends calls that burn money for nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from math import ceil
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, ClassVar, cast

import orjson
from pydantic import Field, field_validator

from instance.chute.answer import DONE, Answer, Delta
from instance.chute.call_identity import holder
from instance.chute.delta_text import last_event
from instance.chute.exchange import Exchange
from instance.chute.module import ALL_KINDS, TEXT_KINDS, Call, Module, ModuleSettings
from instance.chute.modules.cost.rate_limits import Repeats
from instance.chute.modules.cost.runaway import Runaway
from instance.chute.modules.cost.stall_watch import StallWatch, Watched
from instance.chute.modules.cost.stream_spending import StreamSpending
from instance.chute.tokens import PLAIN_FIELDS
from instance.chute.upstream import UpstreamUrl
from instance.chute.webhook import Webhook
from instance.core.clock import Clock
from instance.core.errors import StockyardError
from instance.core.timestamps import rfc3339

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from instance.chute.price import Price
    from instance.core.core import Core

NS = 1_000_000_000


class IdleKill(Module):
    """Ends a call when nothing moves any more, when it goes over a ceiling, or when its text repeats itself for ever; and
    refuses a caller who sends the same request over and over. What was generated until then is charged.

    A caller who has gone is the core's to notice; here it is put into the trail with what it cost.
    """

    name: ClassVar[str] = "idlekill"
    category: ClassVar[str] = "cost"
    group: ClassVar[int] = 2
    summary: ClassVar[str] = "Ends calls that stall, run away or go on for nobody"
    rejects: ClassVar[tuple[str, ...]] = ("request_loop", "killed_stalled", "killed_limit", "killed_loop")
    default_enabled: ClassVar[bool] = True
    kinds: ClassVar[frozenset[str]] = ALL_KINDS

    class Settings(ModuleSettings):
        stall_s: float = Field(
            default=120.0,
            ge=0,
            le=86_400,
            description="Seconds without a byte in either direction after which a call is ended; 0: never. Before the first "
            "content the module timeout decides, where it is on.",
        )
        max_duration_s: float = Field(default=0.0, ge=0, le=86_400, description="Longest call, in seconds; 0: any.")
        max_output_tokens: int = Field(default=0, ge=0, le=10**9, description="Most tokens of an answer; 0: any.")
        max_cost_usd: float = Field(
            default=0.0, ge=0, le=1e6, description="Most dollars that a call may come to; 0: any."
        )
        loop_repeats: int = Field(
            default=0,
            ge=0,
            le=1000,
            description="Repeats of one block that end a stream; 0: none do, 8 is a good value.",
        )
        loop_span_chars: int = Field(
            default=4000, ge=100, le=100_000, description="Characters at the end of the text that must be repeats."
        )
        same_request_max: int = Field(
            default=0, ge=0, le=100_000, description="The same requests of one caller in the window; 0: any number."
        )
        same_request_window_s: float = Field(default=60.0, gt=0, le=86_400, description="The window, in seconds.")
        soft_end: bool = Field(
            default=False, description="End a stream like one that reached its length, in place of an error."
        )
        webhook: str = Field(default="", max_length=2000, description="Address that is told of each ended call.")

        @field_validator("webhook")
        @classmethod
        def _an_address(cls, url: str) -> str:
            if url:
                UpstreamUrl.parse(url)
            return url

    settings: Settings

    def __init__(self, settings: ModuleSettings) -> None:
        super().__init__(settings)
        own = self.settings
        self._stall_s = own.stall_s
        self._take_clock(Clock())
        self._core: Core | None = None
        self._same_max = own.same_request_max
        self._max_tokens = own.max_output_tokens
        self._repeats = Repeats(own.same_request_max, round(own.same_request_window_s * NS))
        self._notices: Webhook | None = None
        self._limited = bool(own.max_output_tokens or own.max_cost_usd or own.loop_repeats)
        self._max_nano = round(own.max_cost_usd * 1e9)
        self._has_duration = bool(own.max_duration_s)

    def _take_clock(self, clock: Clock) -> None:
        self._clock = clock
        self._stalls = StallWatch(self.settings.stall_s, self.settings.max_duration_s, clock.mono_ns)

    async def start(self, core: Core, previous: Module | None) -> None:
        self._core = core
        self._take_clock(core.clock)
        if isinstance(previous, IdleKill) and previous._same_max and self._same_max:
            self._repeats.take_over(previous._repeats)
        if self.settings.webhook:
            self._notices = Webhook(self.settings.webhook, core, self.name)

    async def stop(self) -> None:
        if self._notices is not None:
            await self._notices.close()

    @property
    def streams_only(self) -> frozenset[str]:  # type: ignore[override]
        """Whole calls are counted only where the same request may come too often."""
        return frozenset() if self.settings.same_request_max else frozenset(("on_request",))

    def hooks(self) -> tuple[str, ...]:
        """`around` only where something needs it: a stall of the provider is noticed earlier by the module timeout."""
        own = self.settings
        needed = ["on_request", "on_finish"] if own.stall_s or own.same_request_max else ["on_finish"]
        if self._limited or own.max_duration_s or (own.stall_s and not self._timeout_is_sooner()):
            needed.append("around")
        if self._max_tokens or self._max_nano:
            needed.append("on_response")
        return tuple(needed)

    def _timeout_is_sooner(self) -> bool:
        registry = self._core.services.get("registry") if self._core is not None else None
        slot = registry.slots.get("timeout") if registry is not None else None
        running: Any = slot.running if slot is not None else None
        if running is None or running.settings.models != ["*"] or running.settings.teams != ["*"]:
            return False
        return bool(running.settings.between_tokens_s <= self.settings.stall_s)

    def on_request(self, x: Exchange) -> None:
        if x.stream and self._stall_s and not x.dry:
            self._stalls.add(x)
        if self._same_max and not self._repeats.count(_asked(x), self._clock.mono_ns(), counts=not x.dry):
            window_s = self.settings.same_request_window_s
            raise StockyardError(
                "request_loop",
                f"The same request came more than {self.settings.same_request_max} times within {window_s:g} s.",
                headers={"Retry-After": str(ceil(window_s))},
            )

    def passes(self, x: Exchange) -> bool:
        """A whole call of which nothing is watched: while it is waited for the module timeout decides, and `on_response` judges
        its answer, which has an object with these kinds."""
        return not x.stream and not self._has_duration and x.deadline_ns != 0 and x.kind in TEXT_KINDS

    async def around(self, x: Exchange, call: Call) -> Answer:
        watched: Watched | None = None
        if x.stream or self._has_duration or not x.deadline_ns:
            watched = self._stalls.watched.get(x.id) or self._stalls.add(x)
            watched.awaits_provider = True
            watched.may_stall = not x.deadline_ns
        # Else nothing is watched, and only what the answer came to is judged.
        try:
            answer = await call(x)
        except asyncio.CancelledError:
            if watched is None or not watched.is_cause():
                raise
            raise self._killed(x, watched.struck) from None
        events = answer.events
        if watched is not None:
            watched.awaits_provider = False
            watched.may_stall = True
        if events is None:
            if answer.obj is None:
                self._judge_whole(x, answer)
            return answer
        if self.settings.soft_end:
            answer.native = "openai.chat"
        answer.events = self._watched(x, answer, events, watched or self._stalls.add(x))
        return answer

    def on_response(self, x: Exchange, answer: Answer) -> None:
        self._judge_whole(x, answer)

    def _judge_whole(self, x: Exchange, answer: Answer) -> None:
        """Refuse a whole answer that is over a ceiling; it is paid for already."""
        if answer.target is None:
            return
        usage = x.usage
        if self._max_tokens and usage.output > self._max_tokens:
            reason = "output_tokens"
        elif self._max_nano and self._nano(answer, usage.input, usage.output) > self._max_nano:
            reason = "cost"
        else:
            return
        x.answer = answer
        raise self._killed(x, reason)

    async def _watched(
        self, x: Exchange, answer: Answer, source: AsyncIterator[list[Delta]], watched: Watched
    ) -> AsyncIterator[list[Delta]]:
        """The events of `source`, until one of the limits is reached."""
        own = self.settings
        runaway = Runaway(own.loop_span_chars, own.loop_repeats) if own.loop_repeats else None
        over = StreamSpending(runaway, tuple(self._limits(x, answer))).over
        mono_ns = self._clock.mono_ns
        last: list[Delta] = []
        async with aclosing(cast("AsyncGenerator[list[Delta], None]", source)) as events:
            while True:
                watched.awaits_provider = True
                try:
                    batch = await anext(events)
                except StopAsyncIteration:
                    return
                except asyncio.CancelledError:
                    if not watched.is_cause():
                        raise
                    answer.close()
                    reason: str = watched.struck
                    break
                finally:
                    watched.awaits_provider = False
                    watched.moved_ns = mono_ns()
                reason = over(batch) if self._limited else ""
                last = batch
                yield batch
                if reason:
                    answer.close()
                    break
        error = self._killed(x, reason)
        if not own.soft_end:
            raise error
        shaped = next((event for event in reversed(last) if event.obj is not None and event.obj.get("choices")), None)
        yield [last_event(shaped, "length"), Delta(DONE, None)]

    def _limits(self, x: Exchange, answer: Answer) -> Iterator[tuple[int, str]]:
        """The most tokens that a stream's answer may have, by each ceiling."""
        if self._max_tokens:
            yield self._max_tokens, "output_tokens"
        price = self._price(answer) if self._max_nano else None
        if price is None:
            return
        left = (self._max_nano + 1) * 1000 - x.prompt_tokens() * price.input
        if left <= 0:
            yield -1, "cost"  # the prompt alone is over it
        elif price.output:
            yield (left - 1) // price.output, "cost"

    def _price(self, answer: Answer) -> Price | None:
        prices = self._core.services.get("prices") if self._core is not None else None
        return prices.of(answer.target) if prices is not None and answer.target is not None else None

    def _nano(self, answer: Answer, tokens_in: int, tokens_out: int) -> int:
        """About what so many tokens cost, in nano-dollars; 0 where the price is not known."""
        price = self._price(answer)
        return 0 if price is None else (tokens_in * price.input + tokens_out * price.output) // 1000

    def _killed(self, x: Exchange, reason: str) -> StockyardError:
        """The error for a call that is ended, which is remembered for the trail."""
        x.state["killed"] = reason
        if reason == "stalled":
            message = f"Nothing came for {self.settings.stall_s:g} s, and the call was ended."
            return StockyardError("killed_stalled", message, module=self.name)
        said = {
            "duration": f"The call took longer than {self.settings.max_duration_s:g} s",
            "output_tokens": f"The answer has more than {self.settings.max_output_tokens} tokens",
            "cost": f"The call came to more than ${self.settings.max_cost_usd:g}",
            "loop": "The answer repeats itself without end",
        }
        code = "killed_loop" if reason == "loop" else "killed_limit"
        return StockyardError(code, f"{said.get(reason, reason)}; it was ended.", module=self.name, retryable=False)

    def on_finish(self, x: Exchange) -> None:
        """Put into the trail why the call was ended and what it came to."""
        watched = self._stalls.remove(x) if self._stalls.watched else None
        reason = x.state.get("killed", "")
        if not reason and x.client_gone:
            reason = "caller_stalled" if watched is not None and watched.struck else "client_gone"
        if not reason:
            return
        detail: dict[str, Any] = {
            "reason": reason,
            "tokens": x.usage.output,
            "cost_usd": x.cost_nano / 1e9,
            "ms": round((perf_counter_ns() - x.started_ns) / 1e6),
        }
        x.note("kill", detail, module=self.name, hook="around")
        if self._notices is not None:
            target = x.answer.target if x.answer is not None else None
            served = target.label if target is not None else ""
            at = rfc3339(self._clock.wall_ns())
            notice = {"event": "call.killed", "trace_id": x.id, "model": x.model_requested, "target": served, "at": at}
            self._notices.add({**notice, **detail})


def _asked(x: Exchange) -> int:
    """A number for who asks what: the key, the model and the messages, in this process alone."""
    req = x.req
    asked = req.get("messages") or req.get("input") or req.get("prompt")
    if type(asked) is list:
        parts: list[str] = []
        for message in asked:
            if type(message) is not dict or len(message) != PLAIN_FIELDS:
                break
            role, content = message.get("role"), message.get("content")
            if type(role) is not str or type(content) is not str:
                break
            parts += (role, content)
        else:
            return hash((holder(x), x.model_requested, *parts))
    return hash((holder(x), orjson.dumps([x.model_requested, asked])))
