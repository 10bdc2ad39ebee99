"""Forge: batches of calls that may wait. The module batchqueue switches its queue on and says how it works."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from instance.core.errors import StockyardError
from instance.core.ids import new_id
from instance.forge import store
from instance.forge.batch import Batch, NewJob
from instance.forge.batch_runner import SEAL, BatchRunner
from instance.forge.queue_settings import QueueSettings

if TYPE_CHECKING:
    from fastapi import APIRouter

    from instance.chute.app import Chute
    from instance.core.core import Core
    from instance.core.principals import Principal

MIGRATIONS = ("forge", Path(__file__).parent / "migrations")
JOBS_MAX = 10_000
"""Jobs of one batch."""
FULL_RETRY_S = 60


class Forge:
    """`core.services["forge"]`; `begin` once calls can be made."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.runner: BatchRunner | None = None
        self._chute: Chute | None = None
        self._settings: QueueSettings | None = None

    async def begin(self, chute: Chute) -> None:
        """Calls can be made now: a queue that is switched on takes up its work."""
        self._chute = chute
        if self._settings is not None:
            await self.switch_on(self._settings)

    async def switch_on(self, settings: QueueSettings) -> None:
        """Run the queue with these settings."""
        self._settings = settings
        if self._chute is None:
            return
        if self.runner is not None:
            self.runner.configure(settings)
            return
        self.runner = BatchRunner(self.core, self._chute, settings)
        await self.runner.start()

    async def switch_off(self) -> None:
        """Start no more jobs; what waits stays where it is."""
        self._settings = None
        runner, self.runner = self.runner, None
        if runner is not None:
            await runner.stop()

    def queue(self) -> BatchRunner:
        """The queue at work; raises `conflict` while it is off."""
        if self.runner is None:
            raise StockyardError("conflict", "The module batchqueue is switched off.")
        return self.runner

    async def submit(
        self,
        principal: Principal,
        jobs: Sequence[NewJob],
        *,
        kind: str,
        priority: int,
        team: str,
        client_ip: str,
        single: bool,
        max_attempts: int | None = None,
        concurrency: int = 0,
        max_cost_nano: int = 0,
        callback_url: str = "",
        callback_secret: bytes = b"",
    ) -> Batch:
        """Store a batch and queue its jobs. Raises `queue_full`, `batch_too_large`."""
        runner = self.queue()
        own = runner.settings
        if len(jobs) > JOBS_MAX:
            raise StockyardError("batch_too_large", f"A batch has at most {JOBS_MAX} calls.", param="requests")
        for line, job in enumerate(jobs, 1):
            if len(job.body) > own.max_body_bytes:
                message = f"Call {line} is over {own.max_body_bytes >> 10} KiB."
                raise StockyardError(
                    "batch_too_large", message, param=f"requests[{line - 1}].body", details={"line": line}
                )
        if runner.queued + len(jobs) > own.max_jobs:
            raise StockyardError(
                "queue_full",
                f"{runner.queued} jobs wait, and {own.max_jobs} may; hand it in later.",
                headers={"Retry-After": str(FULL_RETRY_S)},
            )
        seal = self.core.secrets.seal
        batch = Batch(
            new_id("batch_"),
            kind,
            "queued",
            priority,
            single,
            team,
            str(principal.key_id),
            client_ip,
            len(jobs),
            min(max_attempts or own.max_attempts, own.max_attempts),
            concurrency,
            max_cost_nano,
            callback_url=callback_url,
            callback_secret=seal(callback_secret, SEAL) if callback_url else b"",
            callback_due=bool(callback_url),
            created_at_ns=self.core.clock.wall_ns(),
        )
        sealed = [NewJob(job.custom_id, job.path, job.model, seal(job.body, SEAL), job.headers) for job in jobs]
        await self.core.writer.write(lambda connection: store.add(connection, batch, sealed))
        runner.added(batch, [job.model for job in jobs])
        return batch

    async def prune(self) -> None:
        """Remove what ended long enough ago."""
        runner = self.runner
        if runner is not None and runner.settings.keep_ns:
            before = self.core.clock.wall_ns() - runner.settings.keep_ns
            await self.core.writer.write(lambda connection: store.expire(connection, before))

    def router(self) -> APIRouter:
        """The routes below `/api/forge`."""
        from instance.forge.routes import router  # FastAPI is slow to import and not on the way of a call

        return router(self)
