"""The metrics that failed when a period was last judged."""

from alembic import op

from sqp_refresh.postgres.migrate import read_revision_sql

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.execute(read_revision_sql(__file__, "up"))


def downgrade() -> None:
    op.execute(read_revision_sql(__file__, "down"))
