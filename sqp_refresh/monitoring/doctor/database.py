"""What of the Postgres server and its user would make a refresh fail."""

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from psycopg import sql

from sqp_refresh.control.table_lock import try_lock
from sqp_refresh.errors import AccessDenied, NotFound, RefreshError, SettingsError, Unavailable
from sqp_refresh.monitoring.doctor.finding import named
from sqp_refresh.postgres.session import DEADLINES, Session, connect

SKEW_S = 30
"""How far the clocks may be apart: a tick is this machine's, what is due is told by Postgres."""
HEADROOM_GB = 2.0
GB = 1e9

_LACKING = sql.SQL("""
SELECT relname, string_agg(privilege, ', ' ORDER BY privilege) FILTER (
        WHERE NOT has_table_privilege(pg_class.oid, privilege)
    ), row_security_active(pg_class.oid)
FROM pg_class, unnest(CASE
    WHEN relkind = 'v' OR relname IN ('refresh_dependencies', 'webhook_configs')
        THEN ARRAY['SELECT']
    WHEN relname = 'refresh_config' THEN ARRAY['SELECT', 'UPDATE']
    ELSE ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']
END) AS privilege
WHERE relnamespace = 'sqp'::regnamespace AND relkind IN ('r', 'p', 'v')
    AND (relname ~ '^(refresh_|webhook_)' OR relname = ANY({tables}))
GROUP BY relname, pg_class.oid
ORDER BY relname
""")
_USER = sql.SQL("SELECT current_user, has_database_privilege(current_database(), 'TEMP')")
_PROCESS = sql.SQL("SELECT pg_backend_pid()")
_TIMEOUTS = sql.SQL("""
SELECT name, setting::bigint FROM pg_settings
WHERE name IN ('statement_timeout', 'transaction_timeout') ORDER BY name
""")
_SIZE = sql.SQL("SELECT pg_database_size(current_database())")
_MAY_LOOK = sql.SQL("SELECT pg_has_role('pg_monitor', 'MEMBER')")
_SERVER = sql.SQL("""
SELECT (SELECT sum(size)::bigint FROM pg_ls_waldir()), current_setting('data_directory', true),
    (SELECT string_agg(slot_name, ', ') FROM pg_replication_slots WHERE NOT active),
    inet_server_addr() IS NULL
""")
_SET_ASIDE = sql.SQL("""
SELECT table_name, string_agg(index_name, ', ' ORDER BY index_name)
FROM sqp.refresh_indexes GROUP BY table_name ORDER BY table_name
""")
_CLOCK = sql.SQL("SELECT clock_timestamp()")


def privileges(session: Session, tables: Sequence[str]) -> str:
    """That the user may do everything that a refresh does.

    Raises:
        AccessDenied: a right is lacking; the line says which, and how to give it.
    """
    user, may_make_temporary = session.row(_USER)
    if not may_make_temporary:
        raise AccessDenied(
            f"{user} may not make temporary tables, which a week is staged in; "
            f"GRANT TEMPORARY ON DATABASE … TO {user}"
        )
    names = sql.SQL("{}::text[]").format(sql.Literal(list(tables)))
    looked_at = session.rows(_LACKING.format(tables=names))
    lacking: dict[str, list[str]] = {}
    for table, rights, _ in looked_at:
        if rights:
            lacking.setdefault(rights, []).append(table)
    if lacking:
        said = "; ".join(f"{rights} on {named(of_these)}" for rights, of_these in lacking.items())
        raise AccessDenied(
            f"{user} lacks {said}; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL "
            f"TABLES IN SCHEMA sqp TO {user}"
        )
    hidden = [table for table, _, is_hidden in looked_at if is_hidden]
    if hidden:
        raise AccessDenied(
            f"row level security hides rows of {named(hidden)} from {user}; refresh as the "
            f"tables' owner, or ALTER ROLE {user} BYPASSRLS"
        )
    known = len(looked_at)
    return f"{user} may do with {known} tables and views what a refresh does, and stage a week"


def pooler(database_url: str) -> str:
    """Whether each transaction may be given another connection; a refresh works either way."""
    with connect(database_url) as one, connect(database_url) as other:
        (first,) = one.row(_PROCESS)
        one.commit()
        # While this transaction is open, a pooler has to give the next one another connection.
        (taken,) = other.row(_PROCESS)
        (again,) = one.row(_PROCESS)
    if first == taken or first != again:
        return (
            "transactions are pooled, which works: whatever a refresh sets, locks or stages ends "
            "with its transaction"
        )
    return "a connection keeps its server process: no pooler, or one that pools by session"


def timeouts(session: Session) -> str:
    """That nothing ends a refresh before its own deadlines do.

    Raises:
        SettingsError: the user's `transaction_timeout` does.
    """
    limits = dict(session.rows(_TIMEOUTS))
    session.rollback()
    transaction_ms = limits.get("transaction_timeout", 0)
    if transaction_ms:
        raise SettingsError(
            f"transaction_timeout of the user is {transaction_ms:,} ms, which ends a week that "
            "takes longer; ALTER ROLE … SET transaction_timeout = 0"
        )
    statement_ms = limits["statement_timeout"]
    usual = f"{statement_ms:,} ms" if statement_ms else "not set"
    return (
        f"statement_timeout of the user is {usual}; each transaction of a refresh sets its own, "
        f"{DEADLINES['statement_timeout']}"
    )


def disk(session: Session) -> str:
    """How much room there is, as far as it can be told from here.

    Raises:
        Unavailable: there is too little, or something keeps the write-ahead log from shrinking.
    """
    (size,) = session.row(_SIZE)
    said = f"the database has {size / GB:,.1f} GB"
    if not session.row(_MAY_LOOK)[0]:
        return f"{said}; free space and write-ahead log can be seen by members of pg_monitor only"
    log, folder, slots, is_local = session.row(_SERVER)
    said += f", the write-ahead log {log / GB:,.1f} GB"
    if slots:
        raise Unavailable(
            f"{said}; replication slot {slots} is read by nobody and keeps all log since; drop it "
            "with pg_drop_replication_slot, or start its reader"
        )
    free = _free_gb(folder) if is_local else None
    if free is None:
        return f"{said}; how much is free cannot be seen from here"
    if free < HEADROOM_GB:
        raise Unavailable(f"{said}, and {free:,.1f} GB are free; {HEADROOM_GB:,.0f} are needed")
    return f"{said}, and {free:,.1f} GB are free"


def indexes(session: Session) -> str:
    """That no table is without its indexes, unless it is being filled.

    Raises:
        NotFound: one is; the line names them.
    """
    away = session.rows(_SET_ASIDE)
    left = {table: names for table, names in away if try_lock(session, table)}
    session.rollback()
    if left:
        lacking = "; ".join(f"{table} lacks {names}" for table, names in left.items())
        raise NotFound(
            f"{lacking}, set aside for a first load that broke off; `sqp-refresh refresh "
            f"{next(iter(left))}`, as a user who owns the table, builds them"
        )
    filled = [table for table, _ in away]
    return f"{named(filled)} is being filled first" if filled else "no index is set aside"


def _free_gb(folder: str | None) -> float | None:
    if not folder or not Path(folder).exists():
        return None
    return shutil.disk_usage(folder).free / GB


def clock(session: Session) -> str:
    """That this machine and Postgres agree on the time.

    Raises:
        RefreshError: they are too far apart to agree on what is due.
    """
    before = datetime.now(UTC)
    (there,) = session.row(_CLOCK)
    here = before + (datetime.now(UTC) - before) / 2
    ahead = (there - here).total_seconds()
    said = f"the clock of Postgres is {ahead:+.1f} s from this machine's, {SKEW_S} s are allowed"
    if abs(ahead) > SKEW_S:
        raise RefreshError(f"{said}; set both by NTP, else tables are due too early or too late")
    return said
