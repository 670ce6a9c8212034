"""The eight tables in the registry, what each depends on, and how new ones get there."""

from alembic import op

from sqp_refresh.postgres.migrate import sql_beside

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute(sql_beside(__file__, "up"))


def downgrade() -> None:
    op.execute(sql_beside(__file__, "down"))
