"""Mutes of alerts, receivers' own secrets, and who switched which table off."""

from alembic import op

from sqp_refresh.postgres.migrate import read_revision_sql

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.execute(read_revision_sql(__file__, "up"))


def downgrade() -> None:
    op.execute(read_revision_sql(__file__, "down"))
