"""batchqueue: takes work that may wait off the caller's hands, and does it later."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import orjson
from pydantic import Field, field_validator

from instance.chute.answer import JSON, Answer
from instance.chute.exchange import Exchange
from instance.chute.module import ALL_KINDS, Module, ModuleSettings
from instance.chute.own_call import NOT_PASSED_ON
from instance.core.errors import StockyardError
from instance.forge.batch import PRIORITIES
from instance.forge.queue_settings import QueueSettings, read_window
from instance.forge.submission import new_job

if TYPE_CHECKING:
    from instance.core.core import Core
    from instance.forge.app import Forge

NS = 1_000_000_000
DAY_NS = 86_400 * NS
PRUNE_S = 300.0
HEADERS = frozenset((b"x-stockyard-async", b"x-async"))
YES = (b"true", b"1")
PRIORITY = b"x-stockyard-priority"

Count = Annotated[int, Field(ge=1, le=10_000)]


class BatchQueue(Module):
    """A call with `X-Stockyard-Async: true` is answered with 202 and the id of its batch, once it is admitted; many at once
    come by `POST /api/forge/batch`. Each job runs as a call of its submitter through the whole chain but admission.

    What waits is in the database and outlives a restart; nothing runs while the module is off.
    """

    name: ClassVar[str] = "batchqueue"
    category: ClassVar[str] = "studio"
    group: ClassVar[int] = 2
    summary: ClassVar[str] = "Takes calls that may wait, and makes them later"
    rejects: ClassVar[tuple[str, ...]] = ("batch_too_large", "queue_full", "not_supported")
    kinds: ClassVar[frozenset[str]] = ALL_KINDS
    tick_s: ClassVar[float] = PRUNE_S

    class Settings(ModuleSettings):
        concurrency: int = Field(default=4, ge=1, le=1000, description="Jobs that run at once.")
        per_provider: dict[str, Count] = Field(
            default={}, max_length=100, description="Jobs that run at once at a provider, by its name."
        )
        per_team: int = Field(default=0, ge=0, le=1000, description="Jobs of a team that run at once; 0: no limit.")
        max_attempts: int = Field(default=3, ge=1, le=100, description="Times that a job is tried.")
        window: str = Field(
            default="",
            max_length=11,
            description="Hours of the UTC day in which jobs start, as 22:00-06:00; empty: always.",
        )
        max_jobs: int = Field(default=100_000, ge=1, le=1_000_000, description="Jobs that may wait.")
        max_body_kb: int = Field(default=1024, ge=1, le=102_400, description="Kilobytes of a job's body.")
        keep_days: int = Field(default=7, ge=1, le=3650, description="Days that answers are kept.")
        weights: dict[str, Count] = Field(
            default={"high": 8, "normal": 3, "low": 1},
            description="Shares of the priorities high, normal and low while all of them wait.",
        )
        expire_s: int = Field(
            default=86_400,
            ge=0,
            le=31_536_000,
            description="Seconds after which a job that waits has failed; 0: never.",
        )

        @field_validator("window")
        @classmethod
        def _window(cls, window: str) -> str:
            read_window(window)
            return window

        @field_validator("weights")
        @classmethod
        def _weights(cls, weights: dict[str, int]) -> dict[str, int]:
            unknown = weights.keys() - PRIORITIES.keys()
            if unknown:
                raise ValueError(f"there is no priority {', '.join(sorted(unknown))}")
            return weights

    settings: Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._forge: Forge | None = None
        self._replaced = False

    async def start(self, core: Core, previous: Module | None) -> None:
        own = self.settings
        self._forge = core.services["forge"]
        if isinstance(previous, BatchQueue):
            previous._replaced = True
        await self._forge.switch_on(
            QueueSettings(
                own.concurrency,
                own.per_provider,
                own.per_team,
                own.max_attempts,
                read_window(own.window),
                own.max_jobs,
                own.max_body_kb << 10,
                own.keep_days * DAY_NS,
                own.weights,
                own.expire_s * NS,
            )
        )

    async def stop(self) -> None:
        if self._forge is not None and not self._replaced:
            await self._forge.switch_off()

    async def tick(self) -> None:
        if self._forge is not None:
            await self._forge.prune()

    def report(self) -> dict[str, Any]:
        """How many jobs wait and run."""
        runner = self._forge.runner if self._forge is not None else None
        return {"queued": runner.queued, "running": runner.running} if runner is not None else {}

    def prepare(self, x: Exchange) -> Coroutine[Any, Any, Answer | None] | None:
        body = x.native if x.native is not None else x.req
        if body.get("_async") is not True and (
            HEADERS.isdisjoint(x.headers) or not any(x.headers.get(name) in YES for name in HEADERS)
        ):
            return None
        return self._queued(x, body)

    async def _queued(self, x: Exchange, body: JSON) -> Answer | None:
        if x.dry or x.source == "batch" or self._forge is None or x.principal is None:
            return None
        if x.operation.multipart:
            raise StockyardError("not_supported", "A form with files cannot be queued.", param="X-Stockyard-Async")
        headers = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in x.headers.items()
            if name not in NOT_PASSED_ON and name not in HEADERS
        }
        asked = x.headers.get(PRIORITY, b"").decode("latin-1") or str(body.get("_priority") or "")
        batch = await self._forge.submit(
            x.principal,
            [new_job("1", x.path, body, headers)],
            kind=x.kind,
            priority=PRIORITIES.get(asked, 0),
            team=x.team,
            client_ip=x.client_ip,
            single=True,
        )
        x.note("job", {"id": batch.id})
        x.tags = {**x.tags, "batch": "queued"}
        said = orjson.dumps({"id": batch.id, "status": "queued"})
        x.response_headers.append((b"location", f"/api/forge/batch/{batch.id}".encode()))
        return Answer(status=202, body=said, native=x.operation.dialect)
