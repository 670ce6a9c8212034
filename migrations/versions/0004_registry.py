"""The eight tables in the registry, what each depends on, and how new ones get there."""

from alembic import op

from sqp_refresh.postgres.migrate import read_revision_sql

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute(read_revision_sql(__file__, "up"))


def downgrade() -> None:
    op.execute(read_revision_sql(__file__, "down"))
