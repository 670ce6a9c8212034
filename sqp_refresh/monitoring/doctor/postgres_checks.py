"""Check the Postgres server, its user and its tables for what would make a refresh fail.

Each check returns a message where all is well, and raises an error that says what to do where not.
"""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from psycopg.rows import class_row

from sqp_refresh.checks.alterations import BEFORE_ROW, read_alterations
from sqp_refresh.control import missing_indexes
from sqp_refresh.errors import (
    AccessDenied,
    DataError,
    NotFound,
    ReadOnly,
    RefreshError,
    SchemaMismatch,
    Unavailable,
)
from sqp_refresh.model.error_reasons import READ_ONLY_SQLSTATE, reason_of_sqlstate
from sqp_refresh.model.tables import SCHEMA, Table
from sqp_refresh.model.text import listing
from sqp_refresh.monitoring.views import read_freshness
from sqp_refresh.postgres import database_encoding
from sqp_refresh.postgres.release_definitions import find_changes
from sqp_refresh.postgres.schema_catalog import read_schema
from sqp_refresh.postgres.schema_differences import column_differences
from sqp_refresh.postgres.session import DEADLINES, Session, connect
from sqp_refresh.schema_name import in_schema

SKEW_S = 30
"""How far this machine's clock may be from those of the servers, which decide what a night does."""
SET_CLOCK = (
    "set both by NTP, else nights begin too early or too late, and from some minutes on Google "
    "refuses the credentials"
)

HEADROOM_GB = 2.0
GB = 1e9

# What a refresh reads, it must be allowed to SELECT; what it writes, to write too. Tables in the
# schema that are not ours are no matter.
_PRIVILEGES = in_schema("""
SELECT relname AS name, string_agg(privilege, ', ' ORDER BY privilege) FILTER (
        WHERE NOT has_table_privilege(pg_class.oid, privilege)
    ) AS lacking, row_security_active(pg_class.oid) AS hides_rows
FROM pg_class, unnest(CASE
    WHEN relkind = 'v' OR relname IN (
            'refresh_dependencies', 'refresh_mutes', 'refresh_switches', 'webhook_configs'
        )
        THEN ARRAY['SELECT']
    WHEN relname = 'refresh_config' THEN ARRAY['SELECT', 'UPDATE']
    WHEN relname IN ('refresh_proofs', 'refresh_week_changes') THEN ARRAY['SELECT', 'INSERT']
    WHEN relname = 'refresh_finality' THEN ARRAY['SELECT', 'INSERT', 'UPDATE']
    WHEN relname = 'refresh_requests' THEN ARRAY['SELECT', 'UPDATE', 'DELETE']
    WHEN relname = 'refresh_history' THEN ARRAY['SELECT', 'INSERT', 'DELETE']
    ELSE ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']
END) AS privilege
WHERE relnamespace = 'sqp'::regnamespace AND relkind IN ('r', 'p', 'v')
    AND (relname ~ '^(refresh_|webhook_)' OR relname = ANY(%(tables)s::text[]))
GROUP BY relname, pg_class.oid
ORDER BY relname
""")
_USER = "SELECT current_user, has_database_privilege(current_database(), 'TEMP')"
_SERVER_PROCESS = "SELECT pg_backend_pid()"
_READ_ONLY = "SELECT current_setting('transaction_read_only')::boolean, pg_is_in_recovery()"
_TIMEOUTS = """
SELECT name, setting::bigint FROM pg_settings
WHERE name IN ('statement_timeout', 'transaction_timeout') ORDER BY name
"""
_DATABASE = """
SELECT pg_database_size(current_database()), pg_has_role('pg_monitor', 'MEMBER')
"""
# A replication slot that nobody reads keeps the write-ahead log until the disk is full.
_SERVER = """
SELECT (SELECT sum(size)::bigint FROM pg_ls_waldir()), current_setting('data_directory', true),
    (SELECT string_agg(slot_name, ', ') FROM pg_replication_slots WHERE NOT active),
    inet_server_addr() IS NULL
"""


@dataclass(frozen=True, slots=True)
class _Privileges:
    """What the user may do with one table or view.

    Attributes:
        name: Name of the table or view.
        lacking: The rights that a refresh needs and the user has not, e.g. "INSERT, UPDATE".
        hides_rows: Whether row level security is active for the user.
    """

    name: str
    lacking: str | None
    hides_rows: bool


def check_privileges(session: Session, tables: Sequence[str]) -> str:
    """Return a message that the user may do everything that a refresh does.

    Args:
        session: A session of the user.
        tables: Names of the tables that are refreshed.

    Raises:
        AccessDenied: a right is lacking; the message says which, and how to give it.
    """
    user, may_make_temporary = session.fetch_one(_USER)
    if not may_make_temporary:
        raise AccessDenied(
            f"{user} may not make temporary tables, which a week is staged in; "
            f"GRANT TEMPORARY ON DATABASE … TO {user}"
        )
    params = {"tables": list(tables)}
    privileges = session.fetch_all(_PRIVILEGES, params, row_factory=class_row(_Privileges))
    _require_rights(user, privileges)
    hidden = [table.name for table in privileges if table.hides_rows]
    if hidden:
        raise AccessDenied(
            f"row level security hides rows of {listing(hidden)} from {user}; refresh as the "
            f"tables' owner, or ALTER ROLE {user} BYPASSRLS"
        )
    count = len(privileges)
    return f"{user} may do with {count} tables and views what a refresh does, and stage a week"


def _require_rights(user: str, privileges: Sequence[_Privileges]) -> None:
    tables_by_rights: dict[str, list[str]] = {}
    for table in privileges:
        if table.lacking:
            tables_by_rights.setdefault(table.lacking, []).append(table.name)
    if tables_by_rights:
        lacking = "; ".join(
            f"{rights} on {listing(tables)}" for rights, tables in tables_by_rights.items()
        )
        grants = "; ".join(
            f"GRANT {rights} ON {', '.join(f'{SCHEMA}.{table}' for table in tables)} TO {user}"
            for rights, tables in tables_by_rights.items()
        )
        raise AccessDenied(f"{user} lacks {lacking}; {grants}")


def check_pooler(database_url: str) -> str:
    """Return whether each transaction may be given another connection; both ways work."""
    with connect(database_url) as session, connect(database_url) as other:
        (first,) = session.fetch_one(_SERVER_PROCESS)
        session.commit()
        # A pooler gives the connection that is free now to the next transaction, the other
        # session's. Where it does not, that one keeps the first session from the connection it had.
        (taken,) = other.fetch_one(_SERVER_PROCESS)
        is_pooled = first == taken
        if not is_pooled:
            (second,) = session.fetch_one(_SERVER_PROCESS)
            is_pooled = first != second
    if is_pooled:
        return (
            "transactions are pooled, which works: whatever a refresh sets, locks or stages ends "
            "with its transaction"
        )
    return "a connection keeps its server process: no pooler, or one that pools by session"


def check_writable(session: Session) -> str:
    """Return a message that the database takes writes.

    Raises:
        ReadOnly: it does not, so that no refresh can write, nor be on record.
    """
    is_read_only, is_standby = session.fetch_one(_READ_ONLY)
    session.rollback()
    if is_read_only:
        what = "the server is a standby" if is_standby else "the database is read-only"
        raise ReadOnly(
            f"{what}, so that nothing is refreshed and no run is on record; "
            f"{reason_of_sqlstate(READ_ONLY_SQLSTATE).remedy}"
        )
    return "the database takes writes"


def check_encoding(session: Session) -> str:
    """Return a message that the database is encoded in UTF8.

    Raises:
        SettingsError: it is not, so that some search queries cannot be stored.
    """
    return database_encoding.require_utf8(*session.fetch_one(database_encoding.QUERY))


def check_timeouts(session: Session) -> str:
    """Return a message that nothing ends a refresh before its own deadlines do."""
    limits: dict[str, int] = dict(session.fetch_all(_TIMEOUTS))
    session.rollback()
    statement_ms, transaction_ms = limits["statement_timeout"], limits.get("transaction_timeout")
    usual = f"{statement_ms:,} ms" if statement_ms else "not set"
    message = (
        f"statement_timeout of the user is {usual}; each transaction of a refresh sets its own, "
        f"{DEADLINES['statement_timeout']}"
    )
    # Postgres has had a transaction_timeout since version 17.
    if transaction_ms:
        message += f", and lifts the user's transaction_timeout of {transaction_ms:,} ms"
    return message


def check_disk(session: Session) -> str:
    """Return a message that there is room on the disk, as far as it can be seen from here.

    Raises:
        Unavailable: there is too little, or something keeps the write-ahead log from shrinking.
    """
    size, is_monitor = session.fetch_one(_DATABASE)
    message = f"the database has {size / GB:,.1f} GB"
    if not is_monitor:
        return (
            f"{message}; free space and write-ahead log can be seen by members of pg_monitor only"
        )
    log_bytes, folder, slots, is_local = session.fetch_one(_SERVER)
    message += f", the write-ahead log {log_bytes / GB:,.1f} GB"
    if slots:
        raise Unavailable(
            f"{message}; replication slot {slots} is read by nobody and keeps all log since; drop "
            "it with pg_drop_replication_slot, or start its reader"
        )
    free_gb = _free_gb(folder) if is_local else None
    if free_gb is None:
        return f"{message}; how much is free cannot be seen from here"
    message += f", and {free_gb:,.1f} GB are free"
    if free_gb < HEADROOM_GB:
        raise Unavailable(f"{message}; {HEADROOM_GB:,.0f} are needed")
    return message


def _free_gb(folder: str | None) -> float | None:
    if not folder or not Path(folder).exists():
        return None
    return shutil.disk_usage(folder).free / GB


def check_clock(session: Session) -> str:
    """Return a message that this machine and Postgres agree on the time.

    Raises:
        RefreshError: they are too far apart.
    """
    session.rollback()
    before = datetime.now(UTC)
    server_time = session.now()
    # The server read its clock about halfway between question and answer.
    local_time = before + (datetime.now(UTC) - before) / 2
    ahead_s = (server_time - local_time).total_seconds()
    message = (
        f"the clock of Postgres is {ahead_s:+.1f} s from this machine's, {SKEW_S} s are allowed"
    )
    if abs(ahead_s) > SKEW_S:
        raise RefreshError(f"{message}; {SET_CLOCK}")
    return message


def check_indexes(session: Session) -> str:
    """Return a message that no table lacks an index or a constraint, unless it is being filled.

    Raises:
        NotFound: a table lacks some; the message names them, and what mends each.
    """
    problems = missing_indexes.warnings(session)
    if problems:
        raise NotFound(". ".join(problems))
    filled = missing_indexes.tables_being_filled(session)
    return f"{listing(filled)} is being filled first" if filled else "no index is lacking"


def check_columns(session: Session, first_week: date) -> str:
    """Return a message that tables and views have the columns that this release needs.

    Args:
        session: A session of the user.
        first_week: The first week that there is.

    Raises:
        SchemaMismatch: some have not; the message names them, and what mends each.
    """
    differences = list(column_differences(read_schema(session)))
    if not differences:
        return "tables and views have the columns that this release needs"
    problems = ". ".join(map(str, differences))
    to_fill = dict.fromkeys(each.relation for each in differences if each.is_to_fill)
    if to_fill:
        tables = " ".join(f"--table {table}" for table in to_fill)
        problems += f". Then `sqp-refresh refresh {tables} --from {first_week}` fills it"
    raise SchemaMismatch(problems)


def check_definitions(session: Session) -> str:
    """Return a message that views, functions and triggers are this release's.

    Raises:
        SchemaMismatch: somebody replaced some; the message names them, and what puts them back.
    """
    with session.transaction():
        changes = find_changes(session)
    if changes:
        raise SchemaMismatch(". ".join(str(change.difference) for change in changes))
    return "views, functions and triggers are those of this release"


def check_triggers(session: Session, tables: Iterable[Table]) -> str:
    """Return a message that nothing changes rows before they are written.

    Args:
        session: A session of the user.
        tables: The tables that are refreshed.

    Raises:
        DataError: a table has a trigger that may; the message names it.
    """
    with session.transaction():
        alterations = {table.name: read_alterations(session, table) for table in tables}
    named = [
        f"{SCHEMA}.{table} has {name}" for table, names in alterations.items() for name in names
    ]
    if any(name.startswith(BEFORE_ROW) for names in alterations.values() for name in names):
        raise DataError(
            f"{'; '.join(named)}: what is loaded is compared with its source once more, and a row "
            "that was altered is loaded again every night; drop or disable what alters values "
            "that come from the source"
        )
    if named:
        return f"{'; '.join(named)}: what is loaded is compared with its source once more"
    return "no trigger or rule may alter what is loaded"


def check_first_refreshes(session: Session) -> str:
    """Return a message that no enabled table has waited too long for its first refresh.

    It may wait as long as it would between two refreshes.

    Raises:
        NotFound: some have waited longer; the message names them.
    """
    tables, now = read_freshness(session), session.now()
    waiting = [table for table in tables if table.is_enabled and table.last_refresh_at is None]
    never = [
        table.table_name
        for table in waiting
        if now > table.next_refresh_at + timedelta(hours=table.refresh_frequency_hours)
    ]
    if never:
        raise NotFound(
            f"{', '.join(never)} registered and enabled, but never refreshed; run "
            "`sqp-refresh refresh`, or look at `sqp-refresh history TABLE`"
        )
    disabled = sum(not table.is_enabled for table in tables)
    return f"{len(waiting)} of {len(tables)} wait for their first refresh, {disabled} are disabled"
