"""compliancelog: the ledger's entries say what was decided, its head is sealed, and old entries go in an orderly way."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import orjson
from pydantic import Field, field_validator

from instance.chute.answer import JSON
from instance.chute.exchange import Exchange
from instance.chute.module import ALL_KINDS, Module, ModuleSettings
from instance.chute.upstream import UpstreamUrl
from instance.chute.webhook import Webhook
from instance.core.errors import StockyardError
from instance.core.timestamps import NS_PER_S, rfc3339

if TYPE_CHECKING:
    from instance.brand.app import Brand
    from instance.brand.seals import Seal
    from instance.core.core import Core

NS_PER_DAY = 86_400 * NS_PER_S
SEAL_AT_LEAST_NS = 3600 * NS_PER_S
PRUNE_EVERY_NS = NS_PER_DAY
BEGIN_AFTER_S = 1.0
"""After the start, so that neither it nor the first calls wait."""
SUMMARY_MAX = 64
"""Kinds of decisions that one entry counts."""

log = logging.getLogger("stockyard.modules")


class ComplianceLog(Module):
    """Adds to each call's entry in Brand's ledger; keeps no log of its own.

    An entry names the decisions that modules took on the call, with how often; its digests are of the stored text. Every
    `seal_every` entries, and each hour with new ones, the signed head is appended as a seal and sent out.
    """

    name: ClassVar[str] = "compliancelog"
    category: ClassVar[str] = "trust"
    group: ClassVar[int] = 1
    summary: ClassVar[str] = "Puts decisions into the ledger's entries, seals its head, keeps its retention"
    default_enabled: ClassVar[bool] = True
    kinds: ClassVar[frozenset[str]] = ALL_KINDS
    tick_s: ClassVar[float] = 60.0

    class Settings(ModuleSettings):
        digests: bool = Field(
            default=True, description="Keep SHA-256 of request and answer. Off: nobody can prove what a text was."
        )
        retention_days: int = Field(
            default=365,
            ge=0,
            le=36_500,
            description="Days that entries are kept; older ones go once a day, and a signed anchor says so. 0: for ever.",
        )
        seal_every: int = Field(
            default=1000, ge=0, le=1_000_000, description="Entries between two seals; 0: one an hour only."
        )
        seal_webhook: str = Field(
            default="",
            max_length=2000,
            description="Address that each seal is posted to, so that a copy lies elsewhere.",
        )
        seal_file: str = Field(
            default="",
            max_length=1000,
            description="Absolute path of a file that each seal is appended to, one JSON object a line; not on a hosted instance.",
        )
        verify_on_start: bool = Field(
            default=True,
            description="Check the chain since the last seal after each start; its result is in the report.",
        )

        @field_validator("seal_webhook")
        @classmethod
        def _an_address(cls, url: str) -> str:
            if url:
                UpstreamUrl.parse(url)
            return url

        @field_validator("seal_file")
        @classmethod
        def _absolute(cls, path: str) -> str:
            if path and not Path(path).is_absolute():
                raise ValueError("the path must be absolute")
            return path

    settings: Settings

    def __init__(self, settings: ModuleSettings) -> None:
        super().__init__(settings)
        self._detail = _enriched if self.settings.digests else _without_digests
        self._core: Core
        self._brand: Brand
        self._webhook: Webhook | None = None
        self._begun: asyncio.Task[None] | None = None
        self._sealing: asyncio.Task[None] | None = None
        self._sealed_ns = 0
        self._pruned_ns = 0
        self._last: JSON = {}

    async def start(self, core: Core, previous: Module | None) -> None:
        own = self.settings
        if own.seal_file and core.hosted is not None:
            raise StockyardError(
                "invalid_value", "A hosted instance writes no files; use seal_webhook.", param="config.seal_file"
            )
        self._core = core
        self._brand = core.services["brand"]
        self._sealed_ns = core.clock.wall_ns()
        if own.seal_webhook:
            self._webhook = Webhook(own.seal_webhook, core, self.name)
        if isinstance(previous, ComplianceLog):
            self._sealed_ns, self._pruned_ns, self._last = previous._sealed_ns, previous._pruned_ns, previous._last
            self._watch(await self._brand.seals.last_seq())
        else:
            self._begun = asyncio.create_task(self._begin())

    async def stop(self) -> None:
        if self._core.services["registry"].slots[self.name].running in (self, None):
            self._brand.ledger.notify_at(0, None)
        for task in (self._begun, self._sealing):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self._webhook is not None:
            await self._webhook.close()

    def on_finish(self, x: Exchange) -> None:
        x.ledger_detail = self._detail

    async def tick(self) -> None:
        now_ns = self._core.clock.wall_ns()
        if now_ns - self._sealed_ns >= SEAL_AT_LEAST_NS:
            await self._seal()
        days = self.settings.retention_days
        if days and now_ns - self._pruned_ns >= PRUNE_EVERY_NS:
            await self._brand.prune(rfc3339(max(0, now_ns - days * NS_PER_DAY)))
            self._pruned_ns = now_ns

    def report(self) -> dict[str, Any]:
        return dict(self._last)

    def _watch(self, sealed_seq: int) -> None:
        """Have a seal appended as soon as the ledger is `seal_every` entries further."""
        every = self.settings.seal_every
        if not every:
            self._brand.ledger.notify_at(0, None)
            return
        loop = asyncio.get_running_loop()
        self._brand.ledger.notify_at(sealed_seq + every, lambda: _call_soon(loop, self._seal_soon))

    def _seal_soon(self) -> None:
        if self._sealing is None or self._sealing.done():
            self._sealing = asyncio.create_task(self._seal_logged())

    async def _seal_logged(self) -> None:
        try:
            await self._seal()
        except Exception as error:  # sealed at the next tick that is due; the log says why not now
            log.warning("compliancelog: the ledger could not be sealed: %s", error)

    async def _seal(self) -> None:
        seal = await self._brand.seals.seal()
        self._sealed_ns = self._core.clock.wall_ns()
        self._watch(seal.seq + 1 if seal is not None else await self._brand.seals.last_seq())
        if seal is None:
            return
        self._last["sealed"] = {"seq": seal.seq, "at": rfc3339(self._sealed_ns)}
        await self._send_out(seal)

    async def _send_out(self, seal: Seal) -> None:
        notice = {"event": "seal", **seal._asdict(), "at": rfc3339(self._sealed_ns)}
        if self._webhook is not None:
            self._webhook.add(notice)
        if self.settings.seal_file:
            line = orjson.dumps(notice, option=orjson.OPT_APPEND_NEWLINE)
            try:
                await asyncio.to_thread(_append, Path(self.settings.seal_file), line)
            except OSError as error:
                log.warning("compliancelog: the seal could not be written to its file: %s", error)

    async def _begin(self) -> None:
        """What a start has to do and no call waits for."""
        await self._core.clock.sleep(BEGIN_AFTER_S)
        since = await self._brand.seals.last_seq()
        self._watch(since)
        if not self.settings.verify_on_start:
            return
        result = await self._brand.verifier.verify(since or None, None)
        self._last["verified"] = {"since_seq": since, **result}
        if not result["valid"]:
            log.error("the ledger is broken at entry %s: %s", result["broken_at_id"], result["reason"])


def _enriched(x: Exchange, detail: JSON, response: bytes) -> None:
    """Put the decisions, and digests of what is stored in place of what was sent, into a call's entry."""
    if x.stored_request is not None:
        detail["request_sha256"] = sha256(x.stored_request).hexdigest()
    if x.stored_response is not None:
        detail["response_sha256"] = sha256(x.stored_response).hexdigest()
    if x.decisions:
        detail["decisions"] = _summary(x.decisions)


def _without_digests(x: Exchange, detail: JSON, response: bytes) -> None:
    del detail["request_sha256"], detail["response_sha256"]
    if x.decisions:
        detail["decisions"] = _summary(x.decisions)


def _summary(decisions: list[JSON]) -> list[JSON]:
    counts: dict[tuple[str, str], int] = {}
    for decision in decisions:
        key = decision["module"], decision["action"]
        counts[key] = counts.get(key, 0) + 1
    some = list(counts.items())[:SUMMARY_MAX]
    return [{"module": module, "action": action, "count": count} for (module, action), count in some]


def _append(path: Path, line: bytes) -> None:
    with path.open("ab") as file:
        file.write(line)


def _call_soon(loop: asyncio.AbstractEventLoop, call: Any) -> None:
    """From the writer's thread; nothing happens once the loop has ended."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(call)
