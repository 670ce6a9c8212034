"""What a publish changed: each row as it was before, and what can be asked of that."""

from alembic import op

from sqp_refresh.postgres.migrate import read_revision_sql

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.execute(read_revision_sql(__file__, "up"))


def downgrade() -> None:
    op.execute(read_revision_sql(__file__, "down"))
