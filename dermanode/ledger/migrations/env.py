"""Alembic's environment: runs the migrations on the connection that the caller holds."""

from alembic import context

from dermanode.ledger.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite alters a table by writing it anew.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
