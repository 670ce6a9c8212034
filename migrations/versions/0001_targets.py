"""The eight tables that dashboards read."""

from alembic import op

from sqp_refresh.postgres.migrate import read_revision_sql

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute(read_revision_sql(__file__, "up"))


def downgrade() -> None:
    op.execute(read_revision_sql(__file__, "down"))
