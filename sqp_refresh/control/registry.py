"""`sqp.refresh_config`: which tables are refreshed, and the one writer each of them has."""

from psycopg import sql

from sqp_refresh.errors import NotFound, Stopped
from sqp_refresh.postgres import Session
from sqp_refresh.tables import SCHEMA, Table

_LOCK_TIMEOUT = "60s"

_ENABLED = sql.SQL(
    "SELECT id, is_enabled FROM sqp.refresh_config WHERE table_schema = {} AND table_name = {}"
)

# The slot of a table stays where it is: the next one is a whole number of frequencies after the
# last, so a manual refresh at noon does not move tomorrow's away from the nightly tick.
_MARK_REFRESHED = sql.SQL("""
UPDATE sqp.refresh_config
SET last_refresh_at = now(),
    next_refresh_at = CASE
        WHEN next_refresh_at > now() THEN next_refresh_at
        ELSE coalesce(next_refresh_at, now()) + make_interval(hours => refresh_frequency_hours * (
            1 + floor(
                extract(epoch FROM now() - coalesce(next_refresh_at, now()))
                / (3600 * refresh_frequency_hours)
            )::integer
        ))
    END,
    updated_at = now()
WHERE table_schema = {} AND table_name = {}
""")


def require_enabled(session: Session, table: Table) -> int:
    """The id of a table's registration.

    Raises:
        Stopped: an operator disabled the table.
        NotFound: the table is not registered.
    """
    found = session.rows(_ENABLED.format(sql.Literal(SCHEMA), sql.Literal(table.name)))
    if not found:
        raise NotFound(
            f"{SCHEMA}.{table.name} is not in sqp.refresh_config; run `sqp-refresh migrate`"
        )
    ((config_id, is_enabled),) = found
    if not is_enabled:
        raise Stopped(
            f"{SCHEMA}.{table.name} is disabled; set is_enabled = true in sqp.refresh_config to "
            "refresh it again"
        )
    return config_id


def hold(session: Session, table: Table) -> None:
    """Become the table's only writer until the transaction ends, if it is still enabled.

    Raises:
        Transient: another refresh of the table did not let go in time.
        Stopped: an operator disabled the table meanwhile.
    """
    session.run(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(_LOCK_TIMEOUT)))
    session.row(
        sql.SQL("SELECT pg_advisory_xact_lock(hashtextextended({}, 0))::text").format(
            sql.Literal(f"{SCHEMA}.{table.name}")
        )
    )
    require_enabled(session, table)


def mark_refreshed(session: Session, table: Table) -> None:
    """Move the table's last and next refresh on."""
    session.run(_MARK_REFRESHED.format(sql.Literal(SCHEMA), sql.Literal(table.name)))
