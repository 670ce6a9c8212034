"""What decides whether a period is loaded again, each in a column or key of its own."""

from alembic import op

from sqp_refresh.postgres.migrate import read_revision_sql

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.execute(read_revision_sql(__file__, "up"))


def downgrade() -> None:
    op.execute(read_revision_sql(__file__, "down"))
