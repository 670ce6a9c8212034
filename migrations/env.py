"""Run the migrations, as Alembic calls this: on the connection it is given, or into a file of SQL.

Everything is one transaction, so a migration that fails leaves the database as it was. The caller
opens and commits the transaction of a connection.
"""

from alembic import context

from sqp_refresh.model.tables import SCHEMA
from sqp_refresh.postgres.migrate import ENCODING, EPILOGUE, PROLOGUE, read_sql


def run() -> None:
    """Create the schema, run the requested migrations, and drop the schema if none is left."""
    context.configure(
        connection=context.config.attributes.get("connection"),
        on_version_apply=context.config.attributes.get("on_version_apply"),
        version_table_schema=SCHEMA,
        dialect_name="postgresql",
        dialect_opts={"paramstyle": "named"},
    )
    with context.begin_transaction():
        context.execute(read_sql(PROLOGUE))
        # A file of SQL is run by others; who migrates by a connection has looked before.
        if context.is_offline_mode():
            context.execute(read_sql(ENCODING))
        context.run_migrations()
        if not context.is_offline_mode() and not context.get_context().get_current_heads():
            context.execute(read_sql(EPILOGUE))


run()
