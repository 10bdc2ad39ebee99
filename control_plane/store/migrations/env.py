"""Alembic's entry: migrations run on the connection that `store.migrate` hands over."""

from alembic import context

from control_plane.store.schema import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True, transactional_ddl=False)
context.run_migrations()
