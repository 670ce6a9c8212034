"""What makes the outbox one alert for one cause, and names the receiver of each."""

from alembic import op

from sqp_refresh.postgres.migrate import sql_beside

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.execute(sql_beside(__file__, "up"))


def downgrade() -> None:
    op.execute(sql_beside(__file__, "down"))
