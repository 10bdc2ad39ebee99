"""Brings the database to this version's schema, inside one transaction on an open connection.

Alembic's migrations are for databases that an earlier version made. A new one is made from `schema` at once and marked
as migrated: importing Alembic alone takes 0.5 s of a start. A test holds that both ways give the same schema.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from control_plane.store.schema import metadata

FOLDER = Path(__file__).with_name("migrations")
HEAD = "0002"  # the newest migration


def upgrade(connection: Connection) -> None:
    """Make what is missing. The caller commits."""
    tables = inspect(connection).get_table_names()
    if not tables:
        _make(connection)
    elif "alembic_version" not in tables or _version(connection) != HEAD:
        migrate(connection)


def migrate(connection: Connection) -> None:
    """Apply every migration that this database has not seen. The caller commits."""
    from alembic import command
    from alembic.config import Config as AlembicConfig

    settings = AlembicConfig()
    settings.set_main_option("script_location", str(FOLDER))
    settings.attributes["connection"] = connection
    command.upgrade(settings, "head")


def _make(connection: Connection) -> None:
    metadata.create_all(connection)
    column = "version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)"
    connection.execute(text(f"CREATE TABLE alembic_version ({column})"))
    connection.execute(text("INSERT INTO alembic_version (version_num) VALUES (:head)"), {"head": HEAD})


def _version(connection: Connection) -> str | None:
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
