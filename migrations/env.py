"""How Alembic runs the versions: on the connection it is given, or into a file of SQL.

Everything happens in one transaction, so a migration that fails leaves the database as it was. The
transaction on a connection belongs to the caller.
"""

from alembic import context

from sqp_refresh.model.tables import SCHEMA
from sqp_refresh.postgres.migrate import EPILOGUE, PROLOGUE, sql_of


def run() -> None:
    """Open the schema, run the versions asked for, and close the schema if none is left."""
    context.configure(
        connection=context.config.attributes.get("connection"),
        on_version_apply=context.config.attributes.get("on_version_apply"),
        version_table_schema=SCHEMA,
        dialect_name="postgresql",
        dialect_opts={"paramstyle": "named"},
    )
    with context.begin_transaction():
        context.execute(sql_of(PROLOGUE))
        context.run_migrations()
        if not context.is_offline_mode() and not context.get_context().get_current_heads():
            context.execute(sql_of(EPILOGUE))


run()
