"""Which periods the source is known to be ahead of, and when each table was last compared."""

from alembic import op

from sqp_refresh.postgres.migrate import read_revision_sql

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.execute(read_revision_sql(__file__, "up"))


def downgrade() -> None:
    op.execute(read_revision_sql(__file__, "down"))
