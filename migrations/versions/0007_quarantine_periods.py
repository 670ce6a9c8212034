"""The week of each quarantined row, by which a later reading of the week settles it."""

from alembic import op

from sqp_refresh.postgres.migrate import sql_beside

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute(sql_beside(__file__, "up"))


def downgrade() -> None:
    op.execute(sql_beside(__file__, "down"))
