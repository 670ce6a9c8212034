"""A certificate of each period: what both sides say of every column, chained by SHA-256."""

from alembic import op

from sqp_refresh.postgres.migrate import read_revision_sql

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.execute(read_revision_sql(__file__, "up"))


def downgrade() -> None:
    op.execute(read_revision_sql(__file__, "down"))
