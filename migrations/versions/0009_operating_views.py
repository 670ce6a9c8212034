"""The views by which an operator sees freshness, nights, weeks, retries, costs and quality."""

from alembic import op

from sqp_refresh.postgres.migrate import read_revision_sql

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.execute(read_revision_sql(__file__, "up"))


def downgrade() -> None:
    op.execute(read_revision_sql(__file__, "down"))
