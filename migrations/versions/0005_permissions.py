"""Who may use the schema: service_role everything, anon and authenticated no control table."""

from alembic import op

from sqp_refresh.postgres.migrate import read_revision_sql

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute(read_revision_sql(__file__, "up"))


def downgrade() -> None:
    op.execute(read_revision_sql(__file__, "down"))
