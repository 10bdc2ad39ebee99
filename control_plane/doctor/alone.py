"""A check-up while the control plane is down: its database is read, never written, and no loop is asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, create_engine, event

from control_plane.config import Config
from control_plane.doctor.examine import examine
from control_plane.doctor.finding import Finding
from control_plane.doctor.subject import Subject

T = TypeVar("T")


async def examine_alone(config: Config) -> list[Finding]:
    """The findings of this machine, by this process."""
    file = f"sqlite:///file:{config.database_file}?mode=ro&uri=true"
    engine = create_engine(config.database_url or file)
    if not config.database_url:

        @event.listens_for(engine, "connect")
        def connect(connection: object, _: object) -> None:
            connection.execute("PRAGMA query_only=ON")  # type: ignore[attr-defined]

    async def read(work: Callable[[Connection], T]) -> T:
        def run() -> T:
            with engine.connect() as connection:
                return work(connection)

        return await asyncio.to_thread(run)

    try:
        return await examine(Subject(config, read, None, plane_runs=False, now=time.time()))
    finally:
        engine.dispose()
