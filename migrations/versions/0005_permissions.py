"""Who may use the schema: service_role everything, anon and authenticated no control table."""

from alembic import op

from sqp_refresh.postgres.migrate import sql_beside

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute(sql_beside(__file__, "up"))


def downgrade() -> None:
    op.execute(sql_beside(__file__, "down"))
