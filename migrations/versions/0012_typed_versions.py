"""What decides whether a period is loaded again, each in a column or key of its own."""

from alembic import op

from sqp_refresh.postgres.migrate import sql_beside

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.execute(sql_beside(__file__, "up"))


def downgrade() -> None:
    op.execute(sql_beside(__file__, "down"))
