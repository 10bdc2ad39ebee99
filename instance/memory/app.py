"""Memory: what conversations remember."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from instance.memory.session_table import SessionTable

if TYPE_CHECKING:
    from fastapi import APIRouter

    from instance.core.core import Core

MIGRATIONS = ("memory", Path(__file__).parent / "migrations")
SERVICE = "memory"


class Memory:
    """The app. Its sessions are `core.services["memory"]`, which chatmem fills and reads."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.sessions = core.services[SERVICE] = SessionTable(core)

    def router(self) -> APIRouter:
        """The routes below `/api/memory`."""
        from instance.memory.routes import router  # FastAPI is slow to import and not on the way of a call

        return router(self)
