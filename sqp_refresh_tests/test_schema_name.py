"""The schema is a setting: which names it may have, and that SQL written for `sqp` is for it."""

import ast
import hashlib
import re
from pathlib import Path

import pytest

from sqp_refresh import schema_name
from sqp_refresh.errors import SettingsError
from sqp_refresh.postgres.migration_files import FOLDER
from sqp_refresh.schema_name import DEFAULT_SCHEMA, render
from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers.commands import one_line, sqp_refresh

PACKAGE = Path(schema_name.__file__).parent
RELEASED = Path(__file__).parent / "migrations" / "released.sha256"
"""What `sha256sum` says of each migration that was released; a later one is added with it."""


@pytest.mark.parametrize("name", ["sqp", "sqp_next", "_a", "a1", "a" * 40])
def test_a_lower_case_name_of_its_own_is_taken(name, monkeypatch):
    monkeypatch.setenv("SQP_SCHEMA", name)
    assert name == Settings.read().SQP_SCHEMA


@pytest.mark.parametrize(
    "name",
    [
        *(
            "Sqp",
            "1sqp",
            "sqp-next",
            "sqp next",
            'sqp"',
            "sqp;drop",
            "a.b",
            "ä",
            "a" * 41,
            "sqp\nx",
        ),
        *("public", "pg_catalog", "pg_toast", "pg_mine", "information_schema"),
        *("auth", "storage", "realtime", "extensions", "vault", "graphql_public"),
    ],
)
def test_another_name_is_refused_in_one_line(name, monkeypatch):
    monkeypatch.setenv("SQP_SCHEMA", name)
    with pytest.raises(SettingsError) as refused:
        Settings.read()
    assert re.fullmatch(r"SQP_SCHEMA must be .*, e\.g\. sqp_next.*", str(refused.value))


def test_no_command_works_under_a_name_that_is_refused(monkeypatch):
    monkeypatch.setenv("SQP_SCHEMA", "public")
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@nowhere/none")
    for command in (["migrate"], ["migrate", "--sql"], ["status"], ["downgrade", "base", "--yes"]):
        assert one_line(sqp_refresh(*command)).startswith("sqp-refresh: SQP_SCHEMA must be"), (
            command
        )


def test_a_schema_that_is_set_too_late_is_refused(monkeypatch):
    monkeypatch.setenv("SQP_SCHEMA", "set_too_late")
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@nowhere/none")
    with pytest.raises(SettingsError, match="set it before the process starts"):
        _ = Settings.read().database_url


def test_sql_is_rendered_for_another_schema():
    text = (
        "SELECT 'sqp' FROM sqp.daily_sqp_data -- sqp_refresh, sqp-refresh, sqp_register_new_table"
    )
    assert render(text, "b") == (
        "SELECT 'b' FROM b.daily_sqp_data -- sqp_refresh, sqp-refresh, b_register_new_table"
    )


def test_released_migrations_are_rendered_for_sqp_byte_for_byte():
    released = {name: digest for digest, name in map(str.split, RELEASED.read_text().splitlines())}
    assert len(released) == 2 * 15
    for name, digest in released.items():
        text = render((FOLDER / "versions" / name).read_text(encoding="utf-8"), DEFAULT_SCHEMA)
        assert hashlib.sha256(text.encode()).hexdigest() == digest, name


def test_in_migrations_the_word_sqp_is_the_schema_and_nothing_else():
    """What `render` replaces is replaced everywhere, so it may not mean anything else anywhere."""
    uses = r"\bsqp\.[a-z%]|'sqp'|\b(?:SCHEMA|schema) sqp\b|\bsqp_register_new_table\b"
    for path in FOLDER.rglob("*.sql"):
        text = path.read_text(encoding="utf-8")
        assert re.findall(r"\bsqp(?:\b|_register)", re.sub(uses, "", text)) == [], path.name
        assert not re.search(r"\bsqp\b|\bsqp_register", render(text, "other")), path.name


def test_the_sql_of_the_package_is_for_the_schema_of_its_process():
    unmarked = re.compile(r"\bsqp\.[a-z_]+|'sqp'|\b(SCHEMA|schema) sqp\b")
    for file in PACKAGE.rglob("*.py"):
        tree = ast.parse(file.read_text())
        marked = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "in_schema"
            for inner in ast.walk(node)
        }
        documents = {
            id(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and id(node) not in marked | documents:
                assert not unmarked.search(str(node.value)), f"{file.name}:{node.lineno}"


def test_settings_alone_reads_settings():
    """`schema_name.py` is made of one from its import on, `env_file.py` sets what a file says; the
    others ask for what is not ours.
    """
    readers = {
        str(file.relative_to(PACKAGE))
        for file in PACKAGE.rglob("*.py")
        if re.search(r"\bos\.environ|\bgetenv\(", file.read_text())
    }
    others = {"schema_name.py", "cli/env_file.py", "demo/environment.py"}
    assert readers == {"settings.py", *others, "defs/instance_storage.py"}
