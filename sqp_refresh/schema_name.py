"""Know the schema of this process, SQP_SCHEMA, and write SQL for it.

This one setting is read here and not by `settings.py`, which only judges it: a process works in one
schema from its first import to its end, and what lies below the settings is made of its name. The
address of the database is another setting, so that no name which was refused reaches a database.

SQL is written for the schema `sqp`, in this package as in the migrations, where it is plain SQL
that can be read and run. `in_schema` makes it SQL for the schema of this process.
"""

import os
import re
from typing import LiteralString, cast

SETTING = "SQP_SCHEMA"
DEFAULT_SCHEMA = "sqp"
MAX_LENGTH = 40
"""The longest name that leaves room for what is named after the schema, such as its trigger."""

SCHEMA = os.environ.get(SETTING, "").strip() or DEFAULT_SCHEMA

_OF_OTHERS = {
    *("public", "information_schema"),
    # Supabase has these, in each of its projects.
    *("auth", "storage", "realtime", "_realtime", "extensions", "graphql", "graphql_public"),
    *("vault", "pgsodium", "pgsodium_masks", "pgbouncer", "net", "cron", "supabase_functions"),
    *("supabase_migrations", "_analytics", "_supavisor"),
}

_EVENT_TRIGGER = "_register_new_table"
# Event triggers are the database's, so that each schema's has the name of its schema.
_MARK = re.compile(rf"\b{DEFAULT_SCHEMA}(?=\b(?!-)|{_EVENT_TRIGGER}\b)")


def in_schema(statement: LiteralString) -> LiteralString:
    """Return SQL that is written for `sqp` as SQL for the schema of this process.

    The word `sqp` by itself is the schema, everywhere, and nothing else has this name: a test holds
    that. No value ever goes through here, only what is written in this project.

    Args:
        statement: Text of this project, e.g. `SELECT count(*) FROM sqp.refresh_periods`.
    """
    return cast(LiteralString, render(statement, SCHEMA))


def render(text: str, schema: str) -> str:
    """Return SQL that is written for `sqp` as SQL for another schema."""
    return text if schema == DEFAULT_SCHEMA else _MARK.sub(schema, text)


def problem_of(name: str) -> str | None:
    """Say what is wrong with a name for the schema; None where nothing is."""
    example = f"e.g. {DEFAULT_SCHEMA}_next"
    if not re.fullmatch(rf"[a-z_][a-z0-9_]{{0,{MAX_LENGTH - 1}}}", name):
        return (
            f"must be at most {MAX_LENGTH} lower-case letters, digits and underscores, and not "
            f"begin with a digit, {example}"
        )
    if name in _OF_OTHERS or name.startswith("pg_"):
        return f"must be a schema of its own, {example}: {name} is one that others use"
    return None
