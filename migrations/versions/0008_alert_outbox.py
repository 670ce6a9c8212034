"""What makes the outbox one alert for one cause, and names the receiver of each."""

from alembic import op

from sqp_refresh.postgres.migrate import read_revision_sql

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.execute(read_revision_sql(__file__, "up"))


def downgrade() -> None:
    op.execute(read_revision_sql(__file__, "down"))
