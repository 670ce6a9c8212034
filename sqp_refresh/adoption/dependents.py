"""List everything that reads the older tables, what becomes of it, and the SQL that points it here.

It is asked once the schemas have their new names, in a transaction that may be undone, so that the
SQL can be tried: what is printed has run.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from psycopg import sql

from sqp_refresh.adoption.relations import Relations
from sqp_refresh.adoption.repointing import FILL, OlderColumn, OlderRelation, View, repoint
from sqp_refresh.errors import RefreshError
from sqp_refresh.model.text import listing
from sqp_refresh.postgres.session import Session

_VIEWS = """
WITH RECURSIVE edges AS (
    SELECT DISTINCT ev_class AS reader, refobjid AS read
    FROM pg_depend JOIN pg_rewrite ON pg_rewrite.oid = objid
    WHERE classid = 'pg_rewrite'::regclass AND refclassid = 'pg_class'::regclass
        AND ev_class <> refobjid
), reading AS (
    SELECT reader, read FROM edges JOIN pg_class ON pg_class.oid = read
    WHERE relnamespace = %(schema)s::regnamespace
    UNION
    SELECT edges.reader, edges.read FROM edges JOIN reading ON edges.read = reading.reader
)
SELECT reader.oid::regclass::text, reader.relkind = 'm', pg_get_viewdef(reader.oid),
    coalesce(array_to_string(reader.reloptions, ', '), ''),
    read.relnamespace = %(schema)s::regnamespace AND read.relkind IN ('r', 'p', 'f', 'm'),
    read.oid::regclass::text, read.relname::text, (
        SELECT coalesce(json_agg(DISTINCT ARRAY[
            attname::text, format_type(atttypid, atttypmod)
        ]), '[]')
        FROM pg_depend JOIN pg_rewrite ON pg_rewrite.oid = objid
        JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid
        WHERE ev_class = reader.oid AND refobjid = read.oid AND refobjsubid > 0
            AND classid = 'pg_rewrite'::regclass AND refclassid = 'pg_class'::regclass
    ), ARRAY(
        SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = reader.oid
    ), ARRAY(
        SELECT format('GRANT %%s ON %%s TO %%s', privilege_type, reader.oid::regclass,
            CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
        FROM aclexplode(reader.relacl) WHERE grantee <> reader.relowner
    )
FROM reading
JOIN pg_class AS reader ON reader.oid = reading.reader
JOIN pg_class AS read ON read.oid = reading.read
ORDER BY 1, 6
"""
# Postgres does not know what the body of a function reads, where that is a text.
_FUNCTIONS = """
SELECT pronamespace::regnamespace::text || '.' || proname, prosrc, pg_get_functiondef(pg_proc.oid),
    pronamespace = %(schema)s::regnamespace, pg_proc.oid::regprocedure::text, (
        SELECT split_part(setting, '=', 2) FROM unnest(proconfig) AS setting
        WHERE setting ~ %(path)s
    )
FROM pg_proc
WHERE prokind IN ('f', 'p') AND (prosrc ~* %(mark)s OR EXISTS (
        SELECT FROM unnest(proconfig) AS setting WHERE setting ~ %(path)s
    ))
    AND pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
    AND pronamespace <> %(ours)s::regnamespace AND NOT EXISTS (
        SELECT FROM pg_depend
        WHERE classid = 'pg_proc'::regclass AND objid = pg_proc.oid AND deptype = 'e'
    )
ORDER BY 1, pg_proc.oid
"""
_BOUND_FUNCTIONS = """
SELECT DISTINCT pronamespace::regnamespace::text || '.' || proname, pg_class.oid::regclass::text
FROM pg_depend JOIN pg_proc ON pg_proc.oid = objid
LEFT JOIN pg_type ON refclassid = 'pg_type'::regclass AND pg_type.oid = refobjid
LEFT JOIN pg_type AS element ON element.oid = pg_type.typelem
JOIN pg_class ON pg_class.oid = CASE
    WHEN refclassid = 'pg_class'::regclass THEN refobjid
    ELSE coalesce(nullif(pg_type.typrelid, 0), element.typrelid)
END AND relnamespace = %(schema)s::regnamespace
WHERE classid = 'pg_proc'::regclass
ORDER BY 1, 2
"""
_FOREIGN_KEYS = """
SELECT conrelid::regclass::text || '.' || conname, confrelid::regclass::text
FROM pg_constraint JOIN pg_class ON pg_class.oid = confrelid
WHERE contype = 'f' AND conparentid = 0 AND relnamespace = %(schema)s::regnamespace ORDER BY 1
"""
_POLICIES = """
SELECT tablename || '.' || policyname, tablename::text, format(
    'ALTER TABLE %%1$I.%%2$I ENABLE ROW LEVEL SECURITY; CREATE POLICY %%3$I ON %%1$I.%%2$I '
    'AS %%4$s FOR %%5$s TO %%6$s', %(ours)s::text, tablename, policyname, permissive, cmd, (
        SELECT string_agg(CASE role WHEN 'public' THEN 'PUBLIC' ELSE quote_ident(role) END, ', ')
        FROM unnest(roles) AS role
    )) || coalesce(' USING (' || qual || ')', '')
    || coalesce(' WITH CHECK (' || with_check || ')', '')
FROM pg_policies WHERE schemaname = %(schema)s ORDER BY 1
"""
_OTHER_POLICIES = """
SELECT DISTINCT polrelid::regclass::text || '.' || polname, refobjid::regclass::text
FROM pg_depend JOIN pg_policy ON pg_policy.oid = objid
JOIN pg_class ON pg_class.oid = refobjid AND relnamespace = %(schema)s::regnamespace
WHERE classid = 'pg_policy'::regclass AND refclassid = 'pg_class'::regclass
    AND polrelid <> refobjid
ORDER BY 1, 2
"""
_PUBLICATIONS = """
SELECT pubname::text, relname::text
FROM pg_publication_rel JOIN pg_publication ON pg_publication.oid = prpubid
JOIN pg_class ON pg_class.oid = prrelid AND relnamespace = %(schema)s::regnamespace ORDER BY 1, 2
"""
_TRIGGERS = """
SELECT tgrelid::regclass::text || '.' || tgname, tgrelid::regclass::text,
    tgfoid::regproc::text
FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
WHERE NOT tgisinternal AND relnamespace = %(schema)s::regnamespace ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Dependent:
    """Something that reads the older tables, or hangs on them.

    Attributes:
        kind: view, materialized view, function, foreign key, policy, publication, trigger or event
            trigger.
        name: What it is called today.
        place: What it is called afterwards.
        reads: The older tables and views that it reads, as they are called today.
        effect: What will happen to it.
        sql: What points it at the new tables, where that can be written; it has been tried.
        remark: What to know of that, or why there is none.
    """

    kind: str
    name: str
    place: str
    reads: tuple[str, ...]
    effect: str
    sql: str | None = None
    remark: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return asdict(self) | {"reads": list(self.reads)}


@dataclass(frozen=True, slots=True)
class Names:
    """What the schemas are called.

    Attributes:
        ours: Our schema afterwards, which is what the older one is called today.
        aside: The older schema afterwards.
    """

    ours: str
    aside: str

    def today(self, name: str) -> str:
        """Return what a name of the older schema is today."""
        return re.sub(rf"^{re.escape(self.aside)}\.", f"{self.ours}.", name)

    @property
    def params(self) -> dict[str, str]:
        """The parameters of the queries here."""
        return {
            "ours": self.ours,
            "schema": self.aside,
            "mark": rf"\y{self.ours}\.",
            "path": rf"^search_path=.*\y{self.ours}\y",
        }


def list_dependents(
    session: Session, names: Names, older: Relations, ours: Relations
) -> list[Dependent]:
    """List what reads the older tables.

    Args:
        session: A session in a transaction, in which the schemas have their new names.
        names: Those names.
        older: What the older schema has.
        ours: What ours has.
    """
    listed = [
        *_views(session, names, ours),
        *_functions(session, names, older, ours),
        *_foreign_keys(session, names),
        *_policies(session, names, ours),
        *_publications(session, names, ours),
        *_triggers(session, names),
    ]
    return [_tried(session, dependent) for dependent in listed]


def _tried(session: Session, dependent: Dependent) -> Dependent:
    """Run the SQL of a dependent and undo it; where it cannot be run, leave it out and say why."""
    if dependent.sql is None:
        return dependent
    session.execute("SAVEPOINT tried")
    try:
        # A view that keeps its rows is not filled for this.
        trial = dependent.sql.replace(FILL, "WITH NO DATA;")
        session.execute(sql.SQL(trial))  # type: ignore[arg-type]
        return dependent
    except RefreshError as error:
        return replace(dependent, sql=None, remark=f"no SQL can be written: {error}")
    finally:
        session.execute("ROLLBACK TO SAVEPOINT tried")


def _views(session: Session, names: Names, ours: Relations) -> Iterator[Dependent]:
    views: dict[str, View] = {}
    for (
        place,
        is_kept,
        definition,
        options,
        is_older,
        read,
        name,
        columns,
        *rest,
    ) in session.fetch_all(_VIEWS, names.params):
        view = views.setdefault(place, View(place, is_kept, definition, options, *rest))
        used = tuple(OlderColumn(*column) for column in columns)
        view.reads.append(OlderRelation(read, name, is_older, used))
    for view in views.values():
        readers = [other for other in views.values() if other.read(view.place)]
        written, remark = repoint(view, readers, names.ours, ours)
        has_moved = view.place.startswith(f"{names.aside}.")
        moves = f"moves to {view.place}, and " if has_moved else ""
        yield Dependent(
            "materialized view" if view.is_kept else "view",
            names.today(view.place),
            view.place,
            tuple(names.today(read.place) for read in view.reads),
            f"{moves}goes on reading {listing(read.place for read in view.reads)}",
            written,
            remark,
        )


def _functions(
    session: Session, names: Names, older: Relations, ours: Relations
) -> Iterator[Dependent]:
    mark = re.compile(rf'\b{re.escape(names.ours)}\."?(\w+)', re.IGNORECASE)
    for place, text, definition, is_moved, signature, path in session.fetch_all(
        _FUNCTIONS, names.params
    ):
        read = tuple(dict.fromkeys(name.lower() for name in mark.findall(text)))
        does = "by its text reads" if read else "searches"
        effect = f"{does} {names.ours}, which is the new schema then"
        if lacking := [name for name in read if name not in ours]:
            effect += f", and fails, as {listing(lacking)} stays in {names.aside}"
        older_columns = _older_columns(text, read, older, ours)
        written, remark = None, "nothing has to be done: its text is of the new tables then"
        if lacking or older_columns:
            written = re.sub(rf"\b{re.escape(names.ours)}\.", f"{names.aside}.", definition)
            remark = "the SQL keeps it at the older tables"
        elif path and not read:
            aside = re.sub(rf"\b{re.escape(names.ours)}\b", names.aside, path)
            written = f"ALTER ROUTINE {signature} SET search_path = {aside}"
            remark = "the SQL keeps it at the older tables, which it names without a schema"
        if older_columns:
            remark += (
                f", as new ones have no {listing(older_columns)}, which its text names; "
                "or have it read the views of `sqp-refresh views --compat`"
            )
        yield Dependent(
            *("function", names.today(place), place),
            tuple(f"{names.ours}.{name}" for name in read),
            f"moves to {place}, and {effect}" if is_moved else effect,
            f"{written.rstrip()};" if written else None,
            remark,
        )
    for place, table in session.fetch_all(_BOUND_FUNCTIONS, names.params):
        yield Dependent(
            *("function", names.today(place), place, (names.today(table),)),
            f"goes on with {table}, which its body or its type is bound to",
            remark="no SQL can be written: make it anew with the new table",
        )


def _older_columns(text: str, read: Iterable[str], older: Relations, ours: Relations) -> list[str]:
    """List the columns of older tables that a text names, and that the new ones do not have."""
    return sorted(
        {
            column
            for name in read
            for column in older.get(name, {})
            if name in ours and column not in ours[name] and re.search(rf"\b{column}\b", text)
        }
    )


def _foreign_keys(session: Session, names: Names) -> Iterator[Dependent]:
    for place, read in session.fetch_all(_FOREIGN_KEYS, names.params):
        yield Dependent(
            *("foreign key", names.today(place), place, (names.today(read),)),
            f"goes on referring to {read}",
            remark="no SQL can be written: the new table has another key",
        )


def _policies(session: Session, names: Names, ours: Relations) -> Iterator[Dependent]:
    for name, table, statement in session.fetch_all(_POLICIES, names.params):
        is_here = table in ours
        yield Dependent(
            *("policy", f"{names.ours}.{name}", f"{names.aside}.{name}"),
            (f"{names.ours}.{table}",),
            f"stays with {names.aside}.{table}; the new table has none",
            f"{statement};" if is_here else None,
            "" if is_here else f"there is no new table {table}",
        )
    for place, read in session.fetch_all(_OTHER_POLICIES, names.params):
        yield Dependent(
            *("policy", names.today(place), place, (names.today(read),)),
            f"goes on reading {read}",
            remark="no SQL can be written: write it anew with the new columns",
        )


def _publications(session: Session, names: Names, ours: Relations) -> Iterator[Dependent]:
    for publication, table in session.fetch_all(_PUBLICATIONS, names.params):
        statement = sql.SQL("ALTER PUBLICATION {} ADD TABLE {};").format(
            sql.Identifier(publication), sql.Identifier(names.ours, table)
        )
        yield Dependent(
            *("publication", publication, publication, (f"{names.ours}.{table}",)),
            f"goes on publishing {names.aside}.{table}",
            statement.as_string(None) if table in ours else None,
            "" if table in ours else f"there is no new table {table}",
        )


def _triggers(session: Session, names: Names) -> Iterator[Dependent]:
    for place, table, function in session.fetch_all(_TRIGGERS, names.params):
        yield Dependent(
            *("trigger", names.today(place), place, (names.today(table),)),
            f"stays with {table}, and calls {function}",
            remark="none is needed: a refresh fills every table, and compares what it wrote",
        )


def by_kind(dependents: Iterable[Dependent]) -> Mapping[str, list[Dependent]]:
    """Return dependents by their kind, in their order."""
    kinds: dict[str, list[Dependent]] = {}
    for dependent in dependents:
        kinds.setdefault(dependent.kind, []).append(dependent)
    return kinds
