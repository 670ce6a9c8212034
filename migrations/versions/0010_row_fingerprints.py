"""The fingerprints of each period's rows, by which only rows that differ are sent."""

from alembic import op

from sqp_refresh.postgres.migrate import read_revision_sql

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.execute(read_revision_sql(__file__, "up"))


def downgrade() -> None:
    op.execute(read_revision_sql(__file__, "down"))
