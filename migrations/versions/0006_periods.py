"""What each period was made of when it was last published, by which an unchanged one is skipped."""

from alembic import op

from sqp_refresh.postgres.migrate import read_revision_sql

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.execute(read_revision_sql(__file__, "up"))


def downgrade() -> None:
    op.execute(read_revision_sql(__file__, "down"))
