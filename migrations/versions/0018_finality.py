"""When each week of the source came, how often it changed since, and whether it is final."""

from alembic import op

from sqp_refresh.postgres.migrate import read_revision_sql

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.execute(read_revision_sql(__file__, "up"))


def downgrade() -> None:
    op.execute(read_revision_sql(__file__, "down"))
