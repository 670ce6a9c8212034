"""Requests from SQL, the health as one row, and no unknown parameter of a table."""

from alembic import op

from sqp_refresh.postgres.migrate import read_revision_sql

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.execute(read_revision_sql(__file__, "up"))


def downgrade() -> None:
    op.execute(read_revision_sql(__file__, "down"))
