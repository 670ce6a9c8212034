"""The fingerprints of each period's rows, by which only rows that differ are sent."""

from alembic import op

from sqp_refresh.postgres.migrate import sql_beside

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.execute(sql_beside(__file__, "up"))


def downgrade() -> None:
    op.execute(sql_beside(__file__, "down"))
