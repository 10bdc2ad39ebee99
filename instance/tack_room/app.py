"""Tack Room: named, versioned prompts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from instance.tack_room.template_table import TemplateTable

if TYPE_CHECKING:
    from fastapi import APIRouter

    from instance.core.core import Core

MIGRATIONS = ("tack_room", Path(__file__).parent / "migrations")
SERVICE = "templates"


class TackRoom:
    """The app. Its table of templates is `core.services["templates"]`, which promptpad reads."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.templates = core.services[SERVICE] = TemplateTable(core)

    def router(self) -> APIRouter:
        """The routes below `/api/studio`."""
        from instance.tack_room.routes import router  # FastAPI is slow to import and not on the way of a call

        return router(self)
