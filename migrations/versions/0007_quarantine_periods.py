"""The week of each quarantined row, by which a later reading of the week settles it."""

from alembic import op

from sqp_refresh.postgres.migrate import read_revision_sql

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute(read_revision_sql(__file__, "up"))


def downgrade() -> None:
    op.execute(read_revision_sql(__file__, "down"))
