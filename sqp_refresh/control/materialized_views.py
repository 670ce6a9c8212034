"""Refresh the materialized views that read our tables, once what they read has changed.

They belong to users, who need not tell us of them: Postgres knows what each of them reads, through
any number of views. The audit row of a refresh says in which state its tables were then, so that a
view is refreshed when that differs, whoever changed the tables, and however the last attempt ended.

A view and its audit row are one transaction. A view that cannot be refreshed is a warning, and the
others are refreshed.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from typing import Any

from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from sqp_refresh.alerts import rules
from sqp_refresh.alerts.rules import AuditRow
from sqp_refresh.control.audit_log import describe_failure
from sqp_refresh.control.reruns import read_outcome
from sqp_refresh.control.table_lock import try_lock
from sqp_refresh.errors import AccessDenied, RefreshError
from sqp_refresh.postgres.session import Session, connect
from sqp_refresh.retrying import retrying
from sqp_refresh.schema_name import in_schema
from sqp_refresh.settings import MaterializedViews, Settings

MAX_ATTEMPTS = 2

# Whoever reads the view meanwhile waits behind a refresh that waits for another reader.
_LOCK_TIMEOUT = "SET LOCAL lock_timeout TO '10s'"

_ANY = "SELECT EXISTS (SELECT FROM pg_class WHERE relkind = 'm')"
# The sum moves with each period that a run changes, and not only with the first.
_VIEWS = in_schema("""
WITH RECURSIVE edges AS (
    SELECT DISTINCT ev_class AS reader, refobjid AS read
    FROM pg_depend JOIN pg_rewrite ON pg_rewrite.oid = objid
    WHERE classid = 'pg_rewrite'::regclass AND refclassid = 'pg_class'::regclass
        AND ev_type = '1' AND ev_class <> refobjid
), reads (reader, read) AS (
    SELECT reader, read FROM edges JOIN pg_class ON pg_class.oid = reader WHERE relkind = 'm'
    UNION
    SELECT reads.reader, edges.read FROM reads JOIN edges ON edges.reader = reads.read
), tables AS (
    SELECT pg_class.oid, max(changed_by) AS changed_by,
        concat_ws('/', sum(changed_by), sum(row_count)) AS state
    FROM sqp.refresh_config
    JOIN pg_class ON relname = table_name AND relnamespace = 'sqp'::regnamespace
    LEFT JOIN sqp.refresh_periods USING (table_schema, table_name)
    WHERE table_schema = 'sqp'
    GROUP BY pg_class.oid
), views AS (
    SELECT pg_class.oid, nspname, relname, relowner, relispopulated, log.*
    FROM pg_class
    JOIN pg_namespace ON pg_namespace.oid = relnamespace
    LEFT JOIN LATERAL (
        SELECT max(id) FILTER (WHERE status = 'success') AS refreshed_by,
            (array_agg(status ORDER BY id DESC))[1] AS last_status,
            (array_agg(error_message ORDER BY id DESC))[1] AS last_message,
            (array_agg(sync_metadata->'reads' ORDER BY id DESC))[1] AS last_reads
        FROM sqp.refresh_audit_log
        WHERE table_schema = nspname AND table_name = relname
            AND sync_metadata ? 'materialized_view'
    ) AS log ON true
    WHERE relkind = 'm'
)
SELECT views.oid::bigint, views.nspname::text AS schema, views.relname::text AS name,
    pg_get_userbyid(views.relowner)::text AS owner, current_user::text AS "user",
    pg_has_role(views.relowner, 'USAGE') AS is_owned, views.relispopulated AS is_populated,
    EXISTS (
        SELECT FROM pg_index
        WHERE indrelid = views.oid AND indisunique AND indimmediate AND indisvalid
            AND indpred IS NULL AND indexprs IS NULL
    ) AS has_unique_index,
    jsonb_object_agg(
        read::regclass::text,
        concat(tables.state, above.refreshed_by)
    ) AS reads,
    coalesce(array_agg(above.oid::bigint) FILTER (WHERE above.oid IS NOT NULL), '{}') AS above,
    EXISTS (
        SELECT FROM sqp.refresh_audit_log AS run
        WHERE run.id = ANY (array_agg(tables.changed_by))
            AND (run.id::text = ANY (%(runs)s) OR run.sync_metadata->>'run_id' = ANY (%(runs)s)
                OR run.sync_metadata->>'root_run_id' = ANY (%(runs)s))
    ) AS is_changed_by_run,
    views.last_status, views.last_message, views.last_reads
FROM views
JOIN reads ON reads.reader = views.oid
LEFT JOIN tables ON tables.oid = reads.read
LEFT JOIN views AS above ON above.oid = reads.read
WHERE tables.oid IS NOT NULL OR above.oid IS NOT NULL
GROUP BY views.oid, views.nspname, views.relname, views.relowner, views.relispopulated,
    views.last_status, views.last_message, views.last_reads
HAVING count(tables.oid) > 0
ORDER BY views.nspname, views.relname
""")
_REFRESH = sql.SQL("REFRESH MATERIALIZED VIEW {concurrently} {name}")
_RECORD = sql.SQL(
    in_schema("""
INSERT INTO sqp.refresh_audit_log (
    table_schema, table_name, refresh_started_at, refresh_completed_at, status, execution_time_ms,
    error_message, error_details, sync_metadata
)
SELECT %(schema)s, %(name)s, now(), clock_timestamp(), %(status)s,
    round(1000 * extract(epoch FROM clock_timestamp() - now()))::bigint, %(error_message)s,
    %(error_details)s, %(metadata)s
{returning}
""")
).format(returning=rules.RETURNING_AUDIT_ROW)


@dataclass(frozen=True, slots=True)
class MaterializedView:
    """A materialized view that reads our tables, and what is on record of it.

    Attributes:
        oid: Its number in Postgres.
        schema: Its schema.
        name: Its name there.
        owner: The role that it belongs to.
        user: The user of this session.
        is_owned: Whether this user has the rights of the owner.
        is_populated: Whether it can be read at all.
        has_unique_index: Whether it can be refreshed while others read it.
        reads: The state of each table and materialized view that it reads, by name.
        above: The materialized views that it reads.
        is_changed_by_run: Whether one of the runs in question was the last to change such a table.
        last_status: How its last refresh ended; None where there was none.
        last_message: What that said.
        last_reads: What `reads` was then.
    """

    oid: int
    schema: str
    name: str
    owner: str
    user: str
    is_owned: bool
    is_populated: bool
    has_unique_index: bool
    reads: Mapping[str, str]
    above: Sequence[int]
    is_changed_by_run: bool
    last_status: str | None
    last_message: str | None
    last_reads: Mapping[str, str] | None

    def __str__(self) -> str:
        """Return its name with its schema."""
        return f"{self.schema}.{self.name}"

    @property
    def is_due(self) -> bool:
        """Whether it shows another state of our tables than they have.

        Of one that was never refreshed here, only what these runs have changed is known: before, it
        was its user's to refresh.
        """
        if not self.is_populated:
            return True
        if self.last_status is None:
            return self.is_changed_by_run
        return self.last_status != "success" or self.last_reads != self.reads

    def explain(self, error: RefreshError) -> RefreshError:
        """Return an error with the remedy that this view needs."""
        if not isinstance(error, AccessDenied):
            return error
        remedy = (
            f"let its owner read what it reads: `sqp-refresh grant --read {self.owner}`"
            if self.is_owned
            else f'it belongs to {self.owner}: GRANT "{self.owner}" TO "{self.user}", or from '
            f'Postgres 17 on GRANT MAINTAIN ON {self} TO "{self.user}"'
        )
        return AccessDenied(f"{str(error).partition(';')[0]}; {remedy}")


@dataclass(frozen=True, slots=True)
class Refreshed:
    """A materialized view that was refreshed, or was not.

    Attributes:
        view: Its name with its schema.
        warning: Why it was not refreshed; None where it was.
    """

    view: str
    warning: str | None = None

    def __str__(self) -> str:
        """Say in a line what became of it."""
        if self.warning is None:
            return f"materialized view {self.view} was refreshed"
        return f"materialized view {self.view} was not refreshed: {self.warning}"


def refresh_materialized_views(
    settings: Settings, run_id: str, runs: Collection[str] = ()
) -> Iterator[Refreshed]:
    """Refresh each materialized view of which our tables have changed, in the order of dependency.

    After a run that a person has interrupted they are left to the next one.

    Args:
        settings: Where they are, and whether they are to be refreshed at all.
        run_id: The run that it is done for, which their audit rows name.
        runs: Further runs whose changes count, by their run ids, or by the ids of audit rows.

    Raises:
        RefreshError: Postgres cannot be reached, or the audit row cannot be written.
    """
    if settings.REFRESH_MATERIALIZED_VIEWS is MaterializedViews.AUTO:
        yield from _refresh_all(settings.database_url, [run_id, *runs])


def _refresh_all(database_url: str, runs: Sequence[str]) -> Iterator[Refreshed]:
    views = _find_unless_interrupted(database_url, runs)
    attempted: set[int] = set()
    for oid in TopologicalSorter({oid: view.above for oid, view in views.items()}).static_order():
        view = views.get(oid)
        if view is None or not (view.is_due or attempted.intersection(view.above)):
            continue
        attempted.add(oid)
        try:
            if _refresh_until_current(database_url, oid, runs):
                yield Refreshed(str(view))
        except RefreshError as error:
            yield _warn(database_url, view, view.explain(error), runs[0])


def _find_unless_interrupted(database_url: str, runs: Sequence[str]) -> dict[int, MaterializedView]:
    """Find all materialized views that read our tables; none after a run that was interrupted."""
    with connect(database_url) as session, session.transaction():
        (is_any,) = session.fetch_one(_ANY)
        if not is_any or read_outcome(session, runs[0]).is_interrupted:
            return {}
        return {view.oid: view for view in _find(session, runs)}


def _find(session: Session, runs: Sequence[str]) -> list[MaterializedView]:
    return session.fetch_all(_VIEWS, {"runs": list(runs)}, row_factory=class_row(MaterializedView))


def _refresh_until_current(database_url: str, oid: int, runs: Sequence[str]) -> bool:
    """Refresh one view as long as our tables change, and return whether it was refreshed.

    A process that finds another one at it leaves it to that: what it has published itself, the
    other sees once it is done.
    """
    attempts, is_refreshed = retrying(max_attempts=MAX_ATTEMPTS), False
    while attempts(_refresh, database_url, oid, runs):
        is_refreshed = True
    return is_refreshed


def _refresh(database_url: str, oid: int, runs: Sequence[str]) -> bool:
    """Refresh one view, if it is due and no other process is at it; return whether that is so."""
    with connect(database_url) as session, session.transaction():
        session.execute(_LOCK_TIMEOUT)
        if not try_lock(session, f"materialized view {oid}"):
            return False
        # What is committed later than this may be seen by the refresh, and is by the next one.
        view = next((view for view in _find(session, runs) if view.oid == oid), None)
        if view is None or not view.is_due:
            return False
        is_concurrent = view.is_populated and view.has_unique_index
        session.execute(
            _REFRESH.format(
                concurrently=sql.SQL("CONCURRENTLY" if is_concurrent else ""),
                name=sql.Identifier(view.schema, view.name),
            )
        )
        success = {"status": "success", "error_message": None, "error_details": None}
        reads = {"reads": view.reads, "concurrently": is_concurrent}
        _record(session, view, success, {"run_id": runs[0], **reads})
        return True


def _warn(database_url: str, view: MaterializedView, error: RefreshError, run_id: str) -> Refreshed:
    """Put a view that was not refreshed on record, on a session of its own, and alert receivers."""
    failure = describe_failure(error) | {"status": "warning"}
    with connect(database_url) as session, session.transaction():
        row = _record(session, view, failure, {"run_id": run_id})
        # Of one that fails every night in the same way, receivers know.
        if row.message != view.last_message:
            rules.alert_warning(session, replace(row, table=str(view)))
    return Refreshed(str(view), str(error))


def _record(
    session: Session, view: MaterializedView, columns: Mapping[str, Any], metadata: dict[str, Any]
) -> AuditRow:
    params = {"schema": view.schema, "name": view.name, **columns}
    params["metadata"] = Jsonb({"materialized_view": True, **metadata})
    (row,) = session.fetch_all(_RECORD, params, row_factory=class_row(AuditRow))
    return row
