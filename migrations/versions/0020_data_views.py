"""Views of the data that count the market once, take ratios from sums and know Sunday weeks."""

from alembic import op

from sqp_refresh.postgres.migrate import read_revision_sql

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.execute(read_revision_sql(__file__, "up"))


def downgrade() -> None:
    op.execute(read_revision_sql(__file__, "down"))
