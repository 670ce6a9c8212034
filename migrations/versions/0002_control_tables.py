"""The registry, the audit log and what else steers and records a refresh."""

from alembic import op

from sqp_refresh.postgres.migrate import sql_beside

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute(sql_beside(__file__, "up"))


def downgrade() -> None:
    op.execute(sql_beside(__file__, "down"))
