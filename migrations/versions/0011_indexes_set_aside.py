"""The ledger of indexes that a first load has set aside."""

from alembic import op

from sqp_refresh.postgres.migrate import read_revision_sql

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.execute(read_revision_sql(__file__, "up"))


def downgrade() -> None:
    op.execute(read_revision_sql(__file__, "down"))
