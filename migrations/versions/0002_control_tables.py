"""The registry, the audit log and what else steers and records a refresh."""

from alembic import op

from sqp_refresh.postgres.migrate import read_revision_sql

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute(read_revision_sql(__file__, "up"))


def downgrade() -> None:
    op.execute(read_revision_sql(__file__, "down"))
