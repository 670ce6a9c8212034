"""Compare the views, functions and triggers of a database with the release's, and put them back.

`migrations/definitions.json` says what they are once every migration was applied, each as the
statement that makes it; a test holds it. A script of somebody else may replace them unnoticed.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import LiteralString, cast

from psycopg import sql
from psycopg.rows import class_row

from sqp_refresh.errors import RefreshError
from sqp_refresh.model.tables import SCHEMA
from sqp_refresh.postgres.migration_files import FOLDER, read_file
from sqp_refresh.postgres.read_access import is_control
from sqp_refresh.postgres.schema_catalog import Relation, read_schema, release_schema
from sqp_refresh.postgres.schema_differences import Difference
from sqp_refresh.postgres.session import Session

DEFINITIONS_FILE = FOLDER / "definitions.json"

_FUNCTIONS = """
SELECT format('function %%s(%%s)', proname, pg_get_function_identity_arguments(pg_proc.oid)),
    pg_get_functiondef(pg_proc.oid)
FROM pg_proc WHERE pronamespace = %(schema)s::regnamespace AND prokind = 'f'
ORDER BY pg_proc.oid
"""
_VIEWS = """
SELECT relname::text AS name, coalesce(array_to_string(reloptions, ', '), '') AS options,
    pg_get_viewdef(pg_class.oid) AS query, array(
        SELECT concat_ws(' ', attname, format_type(atttypid, atttypmod)) FROM pg_attribute
        WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum
    ) AS columns
FROM pg_class
WHERE relkind = 'v' AND relnamespace = CASE
    WHEN %(temporary)s THEN pg_my_temp_schema() ELSE %(schema)s::regnamespace
END
ORDER BY pg_class.oid
"""
# One that is switched off is another one.
_TRIGGERS = """
SELECT format('trigger %%s of %%s', tgname, relname), concat(
    replace(pg_get_triggerdef(pg_trigger.oid), 'CREATE TRIGGER', 'CREATE OR REPLACE TRIGGER'),
    CASE WHEN tgenabled <> 'O' THEN ' -- enabled: ' || tgenabled::text END
)
FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
JOIN pg_proc ON pg_proc.oid = tgfoid
WHERE relnamespace = %(schema)s::regnamespace AND pronamespace = relnamespace AND NOT tgisinternal
UNION ALL
SELECT format('event trigger %%s', evtname), concat(
    format('CREATE EVENT TRIGGER %%s ON %%s', evtname, evtevent), ' WHEN TAG IN (' || (
        SELECT string_agg(quote_literal(tag), ', ') FROM unnest(evttags) AS tag
    ) || ')', format(' EXECUTE FUNCTION %%s()', evtfoid::regproc),
    CASE WHEN evtenabled <> 'O' THEN ' -- enabled: ' || evtenabled::text END
)
FROM pg_event_trigger JOIN pg_proc ON pg_proc.oid = evtfoid
WHERE pronamespace = %(schema)s::regnamespace
ORDER BY 1
"""
# What goes with a view that is dropped: the rights of others, and the comments.
_RIGHTS_AND_COMMENTS = """
SELECT format('GRANT %%s ON %%s TO %%s', string_agg(privilege_type, ', '), pg_class.oid::regclass,
    CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END)
FROM pg_class, aclexplode(relacl)
WHERE pg_class.oid = %(view)s::regclass AND grantee <> relowner
GROUP BY pg_class.oid, grantee
UNION ALL
SELECT format('COMMENT ON %%s IS %%L', CASE objsubid
        WHEN 0 THEN format('VIEW %%s', objoid::regclass)
        ELSE format('COLUMN %%s.%%I', objoid::regclass, attname)
    END, description)
FROM pg_description
LEFT JOIN pg_attribute ON attrelid = objoid AND attnum = objsubid
WHERE classoid = 'pg_class'::regclass AND objoid = %(view)s::regclass
    AND (objsubid = 0 OR attname = ANY(%(columns)s::text[]))
"""
# As the migrations give them: a view of data is for whoever its owner gives it to.
_GRANT = """
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'service_role') THEN
        GRANT SELECT ON {view} TO service_role;
    END IF;
END
$$
"""
_REVOKE = """
DO $$
DECLARE
    role text;
BEGIN
    FOR role IN SELECT 'PUBLIC' UNION ALL
        SELECT quote_ident(rolname) FROM pg_roles WHERE rolname IN ('anon', 'authenticated')
    LOOP
        EXECUTE 'REVOKE ALL ON {view} FROM ' || role;
    END LOOP;
END
$$
"""
_SERVER = """
SELECT current_setting('server_version_num')::integer, current_setting('transaction_read_only')
"""
_HAS_INVOKER = 150000
"""The first version of Postgres whose views may ask for the rights of who reads them."""


@dataclass(frozen=True, slots=True)
class View:
    """A view, as a server prints it.

    Attributes:
        options: What stands in WITH, e.g. `security_invoker=true`.
        columns: Name and type of each of its columns.
    """

    name: str
    options: str
    query: str
    columns: list[str]

    @property
    def subject(self) -> str:
        """What it is called in `definitions.json`."""
        return f"view {self.name}"

    @property
    def statement(self) -> str:
        """The statement that makes it."""
        options = f" WITH ({self.options})" if self.options else ""
        return f"CREATE OR REPLACE VIEW {SCHEMA}.{self.name}{options} AS\n{self.query}"


@dataclass(frozen=True, slots=True)
class Change:
    """Something that is otherwise than this release makes it.

    Attributes:
        subject: What it is: `view refresh_runs`, `function touch_updated_at()`.
        statement: The SQL that makes it as it should be.
        is_missing: Whether there is none.
        drops: Whether it has to be dropped first.
        columns: The names of the columns of a view.
    """

    subject: str
    statement: str
    is_missing: bool = False
    drops: bool = False
    columns: Sequence[str] = ()

    @property
    def kind(self) -> str:
        """Whether it is a view, a function, a trigger or an event trigger."""
        kinds = ("view", "function", "trigger", "event trigger")
        return next(kind for kind in kinds if self.subject.startswith(f"{kind} "))

    @property
    def name(self) -> str:
        """Its name; that of a function with its arguments, of a trigger with its table."""
        return self.subject.removeprefix(f"{self.kind} ")

    @property
    def difference(self) -> Difference:
        """Say it in words, with the remedy."""
        in_schema = f"{SCHEMA}." if self.kind in ("view", "function") else ""
        how = "is gone" if self.is_missing else "is not as this release makes it"
        what = f"{self.kind} {in_schema}{self.name} {how}"
        remedy = "`sqp-refresh migrate`, as its owner, puts it back"
        return Difference(self.name, what, remedy, is_fatal=False)


def read_definitions(session: Session) -> dict[str, str]:
    """Read the statement of each view, function and trigger of the schema, by what it is."""
    statements = dict(session.fetch_all(_FUNCTIONS, {"schema": SCHEMA}))
    statements |= {view.subject: view.statement for view in _read_views(session)}
    return statements | dict(session.fetch_all(_TRIGGERS, {"schema": SCHEMA}))


@cache
def release_definitions() -> Mapping[str, str]:
    """Return the statements of this release, as the newest Postgres prints them."""
    return json.loads(read_file(DEFINITIONS_FILE))


def find_changes(session: Session) -> list[Change]:
    """Find what is otherwise than this release makes it, in an order in which it can be made.

    There may be no event trigger where whoever migrates may not create one. The release's views
    have to be made to be compared: nothing is where the database is read-only, or where relations
    are lacking, or columns of tables, which `schema_differences` names.
    """
    (version, read_only), here = session.fetch_one(_SERVER), read_schema(session)
    if read_only == "on" or not (_may_make_views(here) and release_schema().keys() <= here.keys()):
        return []
    views = {view.subject: view for view in _read_views(session)}
    release = {view.subject: view for view in _views_as_printed_here(session, version)}
    actual, changes = read_definitions(session), []
    for subject, statement in release_definitions().items():
        needed = release[subject].statement if subject in release else statement
        current = actual.get(subject)
        if current == needed or (current is None and subject.startswith("event trigger ")):
            continue
        if view := release.get(subject):
            drops = not _may_replace(view, views[subject])
            names = [column.split()[0] for column in view.columns]
            changes.append(Change(subject, needed, drops=drops, columns=names))
        else:
            drops = subject.startswith("event trigger ")
            changes.append(Change(subject, needed, current is None, drops))
    return changes


def put_back(session: Session) -> list[str]:
    """Make what is otherwise as this release makes it; return what that was.

    Raises:
        RefreshError: the user may not, or something of others depends on it; nothing is put back.
    """
    made = _make_missing_functions(session) + _make_missing_views(session)
    changes = find_changes(session)
    for change in changes:
        try:
            for statement in _statements(session, change):
                session.execute(_as_sql(statement))
        except RefreshError as error:
            raise type(error)(f"{change.difference.what}, and is not put back: {error}") from error
    return made + [change.subject for change in changes]


def _may_make_views(here: Mapping[str, Relation]) -> bool:
    """Return whether every table has the columns that the release's views read."""
    return all(
        name in here and relation.columns.keys() <= here[name].columns.keys()
        for name, relation in release_schema().items()
        if not relation.is_view
    )


def _make_missing_functions(session: Session) -> list[str]:
    """Make the functions that are gone, which views may call; return them."""
    here, made = read_definitions(session), []
    for subject, statement in release_definitions().items():
        change = Change(subject, statement, is_missing=subject not in here)
        if (
            change.kind == "function"
            and change.is_missing
            and _may_make_views(read_schema(session))
        ):
            for each in _statements(session, change):
                session.execute(_as_sql(each))
            made.append(subject)
    return made


def _make_missing_views(session: Session) -> list[str]:
    """Make the views that are gone, with the rights that the migrations give; return them."""
    here, (version, _) = read_schema(session), session.fetch_one(_SERVER)
    made = []
    for subject, statement in release_definitions().items():
        kind, _, name = subject.partition(" ")
        if kind == "view" and name not in here and _may_make_views(here):
            session.execute(_as_sql(_for_version(statement, version)))
            for rights in (_GRANT, *([_REVOKE] if is_control(session, name) else [])):
                session.execute(_as_sql(rights.replace("{view}", f"{SCHEMA}.{name}")))
            made.append(subject)
    return made


def _for_version(statement: str, version: int) -> str:
    """Return the statement of a view, without the option that an old server does not have."""
    option = " WITH (security_invoker=true)"
    return statement if version >= _HAS_INVOKER else statement.replace(option, "", 1)


def _as_sql(statement: str) -> sql.SQL:
    # What is not written in this project was printed by Postgres, with names quoted.
    return sql.SQL(cast(LiteralString, statement))


def _statements(session: Session, change: Change) -> Iterator[str]:
    """Yield the statements that put something back, with the rights that others had on it."""
    name = f"{SCHEMA}.{change.name}"
    match change.kind:
        case "view" if change.drops:
            params = {"view": name, "columns": list(change.columns)}
            kept = [statement for (statement,) in session.fetch_all(_RIGHTS_AND_COMMENTS, params)]
            yield from (f"DROP VIEW {name}", change.statement, *kept)
        case "event trigger" if change.drops:
            yield from (f"DROP EVENT TRIGGER {change.name}", change.statement)
        case "trigger":
            trigger, _, table = change.name.partition(" of ")
            yield from (change.statement, f"ALTER TABLE {SCHEMA}.{table} ENABLE TRIGGER {trigger}")
        case "function" if change.is_missing:
            yield from (change.statement, f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC")
        case _:
            yield change.statement


def _read_views(session: Session, *, temporary: bool = False) -> list[View]:
    params = {"schema": SCHEMA, "temporary": temporary}
    return session.fetch_all(_VIEWS, params, row_factory=class_row(View))


def _views_as_printed_here(session: Session, version: int) -> list[View]:
    """Return the release's views as this server prints them: each version does it otherwise.

    They are made as temporary views, which no other session sees, and which are rolled back.
    """
    statements = [
        statement.replace(f"CREATE OR REPLACE VIEW {SCHEMA}.", "CREATE TEMPORARY VIEW ", 1)
        for subject, statement in release_definitions().items()
        if subject.startswith("view ")
    ]
    session.execute("SAVEPOINT printed_here")
    session.execute(_as_sql("".join(_for_version(each, version) for each in statements)))
    views = _read_views(session, temporary=True)
    session.execute("ROLLBACK TO SAVEPOINT printed_here")
    return views


def _may_replace(needed: View, actual: View) -> bool:
    """Return whether a view can be replaced: it may only gain columns."""
    return needed.columns[: len(actual.columns)] == actual.columns
