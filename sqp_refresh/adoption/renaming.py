"""Rename a schema of ours, with everything in it that has the schema's name as text.

Tables, keys, grants and what refers to them by itself follow a renamed schema. What does not are
the bodies of functions, texts within views, defaults and checks, comments, the event trigger, and
the rows of control tables that say whose they are. All of it is found in the catalog, so that
nothing is forgotten that a later release adds.

Certificates stay as they are: each has the name under which it was written, which its hash covers.
"""

import re
from collections.abc import Callable, Iterator

from psycopg import sql

from sqp_refresh.postgres.session import Session
from sqp_refresh.schema_name import DEFAULT_SCHEMA, render

_FUNCTIONS = """
SELECT pg_get_functiondef(oid) FROM pg_proc
WHERE pronamespace = %(schema)s::regnamespace AND prokind IN ('f', 'p') ORDER BY oid
"""
_VIEWS = """
SELECT relname::text, pg_get_viewdef(oid), coalesce(array_to_string(reloptions, ', '), '')
FROM pg_class WHERE relnamespace = %(schema)s::regnamespace AND relkind = 'v' ORDER BY oid
"""
_DEFAULTS = """
SELECT relname::text, attname::text, pg_get_expr(adbin, adrelid)
FROM pg_attrdef JOIN pg_class ON pg_class.oid = adrelid
JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum
WHERE relnamespace = %(schema)s::regnamespace AND attgenerated = '' AND relkind IN ('r', 'p')
"""
_CHECKS = """
SELECT relname::text, conname::text, pg_get_constraintdef(pg_constraint.oid)
FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid
WHERE relnamespace = %(schema)s::regnamespace AND contype = 'c'
"""
_COMMENTS = """
SELECT CASE WHEN objsubid > 0 THEN 'COLUMN' WHEN relkind = 'v' THEN 'VIEW' ELSE 'TABLE' END,
    relname::text, attname::text, description
FROM pg_description
JOIN pg_class ON pg_class.oid = objoid AND relkind IN ('r', 'p', 'v')
LEFT JOIN pg_attribute ON attrelid = objoid AND attnum = objsubid AND objsubid > 0
WHERE classoid = 'pg_class'::regclass AND relnamespace = %(schema)s::regnamespace
"""
_EVENT_TRIGGERS = """
SELECT evtname::text FROM pg_event_trigger JOIN pg_proc ON pg_proc.oid = evtfoid
WHERE pronamespace = %(schema)s::regnamespace
"""
_OWN_ROWS = """
SELECT relname::text FROM pg_class
JOIN pg_attribute ON attrelid = pg_class.oid AND attname = 'table_schema' AND NOT attisdropped
WHERE relnamespace = %(schema)s::regnamespace AND relkind IN ('r', 'p')
    AND relname <> 'refresh_proofs'
ORDER BY relname
"""

_RENAME = sql.SQL("ALTER SCHEMA {} RENAME TO {}")
_RENAME_EVENT_TRIGGER = sql.SQL("ALTER EVENT TRIGGER {} RENAME TO {}")
_SET_ROWS = sql.SQL("UPDATE {} SET table_schema = %(new)s WHERE table_schema = %(old)s")

Renamed = Callable[[str], str]


def rename_schema(session: Session, old: str, new: str) -> None:
    """Rename a schema.

    Args:
        session: A session in a transaction, of the owner of the schema.
        old: Its name.
        new: Its new name, which no schema has.

    Raises:
        RefreshError: the user may not, or the event trigger's new name is taken.
    """
    session.execute(_RENAME.format(sql.Identifier(old), sql.Identifier(new)))
    for statement in _texts(session, new, lambda text: in_new_schema(text, old, new)):
        session.execute(statement)
    params = {"schema": new, "old": old, "new": new}
    for (name,) in session.fetch_all(_OWN_ROWS, params):
        # In a statement with parameters a name must not have a percent sign, and none of ours has.
        session.execute(_SET_ROWS.format(sql.Identifier(new, name)), params)


def in_new_schema(text: str, old: str, new: str) -> str:
    """Return SQL of a schema of ours as it is for another name of the schema."""
    if old == DEFAULT_SCHEMA:
        return render(text, new)
    return re.sub(rf"\b{re.escape(old)}(?=\b|_register_new_table\b)", new, text)


def _texts(session: Session, schema: str, renamed: Renamed) -> Iterator[sql.SQL | sql.Composed]:
    """Yield what makes anew each definition that has the schema's former name as text."""
    params = {"schema": schema}
    for (definition,) in session.fetch_all(_FUNCTIONS, params):
        if renamed(definition) != definition:
            yield _verbatim(renamed(definition))
    for name, definition, options in session.fetch_all(_VIEWS, params):
        if renamed(definition) != definition:
            yield replace_view(sql.Identifier(schema, name), options, renamed(definition))
    yield from _of_columns(session, schema, renamed)
    for (name,) in session.fetch_all(_EVENT_TRIGGERS, params):
        if renamed(name) != name:
            names = sql.Identifier(name), sql.Identifier(renamed(name))
            yield _RENAME_EVENT_TRIGGER.format(*names)


def _of_columns(
    session: Session, schema: str, renamed: Renamed
) -> Iterator[sql.SQL | sql.Composed]:
    params = {"schema": schema}
    for table, column, default in session.fetch_all(_DEFAULTS, params):
        if renamed(default) != default:
            alter = sql.SQL("ALTER TABLE {} ALTER COLUMN {} SET DEFAULT {}")
            names = sql.Identifier(schema, table), sql.Identifier(column)
            yield alter.format(*names, _verbatim(renamed(default)))
    for table, name, check in session.fetch_all(_CHECKS, params):
        if renamed(check) != check:
            alter = sql.SQL("ALTER TABLE {} DROP CONSTRAINT {name}, ADD CONSTRAINT {name} {}")
            names = sql.Identifier(schema, table), _verbatim(renamed(check))
            yield alter.format(*names, name=sql.Identifier(name))
    for kind, relation, column, comment in session.fetch_all(_COMMENTS, params):
        if renamed(comment) != comment:
            place = sql.Identifier(schema, relation, *([column] if column else []))
            text = sql.Literal(renamed(comment))
            yield sql.SQL("COMMENT ON {} {} IS {}").format(_verbatim(kind), place, text)


def replace_view(name: sql.Identifier, options: str, definition: str) -> sql.Composed:
    """Return the statement that gives a view another definition; grants and readers stay.

    Args:
        name: The view.
        options: Its options, as Postgres has them, e.g. `security_invoker=true`; may be empty.
        definition: The SELECT.
    """
    having = f" WITH ({options})" if options else ""
    return sql.SQL("CREATE OR REPLACE VIEW {}{} AS {}").format(
        name, _verbatim(having), _verbatim(definition.rstrip().removesuffix(";"))
    )


def _verbatim(text: str) -> sql.SQL:
    """Return SQL that Postgres itself wrote, as it is."""
    return sql.SQL(text)  # type: ignore[arg-type]
