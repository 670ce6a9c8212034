"""The two views that show how refreshes and checks went in the last seven days."""

from alembic import op

from sqp_refresh.postgres.migrate import read_revision_sql

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute(read_revision_sql(__file__, "up"))


def downgrade() -> None:
    op.execute(read_revision_sql(__file__, "down"))
