"""Periods that no refresh copies, and weeks that are held back because too much of them changed."""

from alembic import op

from sqp_refresh.postgres.migrate import read_revision_sql

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.execute(read_revision_sql(__file__, "up"))


def downgrade() -> None:
    op.execute(read_revision_sql(__file__, "down"))
