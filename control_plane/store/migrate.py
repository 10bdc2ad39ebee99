"""Brings the database to this version's schema, by Alembic, inside one transaction on an open connection."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config as AlembicConfig
from sqlalchemy import Connection

FOLDER = Path(__file__).with_name("migrations")


def upgrade(connection: Connection) -> None:
    """Apply every migration that this database has not seen. The caller commits."""
    settings = AlembicConfig()
    settings.set_main_option("script_location", str(FOLDER))
    settings.attributes["connection"] = connection
    command.upgrade(settings, "head")
