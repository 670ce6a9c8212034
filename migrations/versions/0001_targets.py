"""The eight tables that dashboards read."""

from alembic import op

from sqp_refresh.postgres.migrate import sql_beside

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute(sql_beside(__file__, "up"))


def downgrade() -> None:
    op.execute(sql_beside(__file__, "down"))
