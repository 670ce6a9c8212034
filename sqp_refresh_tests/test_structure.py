"""Hold what no linter holds: imports between layers, the list of packages, the documents."""

import ast
import re
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.main import get_command

from sqp_refresh.checks.metrics import METRICS
from sqp_refresh.cli import app
from sqp_refresh.model.tables import TABLES
from sqp_refresh.registry.sync_params import SyncParams
from sqp_refresh.settings import Settings

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "sqp_refresh"
TESTS = Path(__file__).parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
REFERENCE = (ROOT / "docs" / "reference.md").read_text()
LAYERS = (
    ("schema_name",),
    ("model", "errors"),
    ("retrying", "settings"),
    ("postgres",),
    ("alerts", "extract", "validate", "ledger"),
    ("registry", "rollup"),
    ("control",),
    ("checks",),
    ("load",),
    ("refresh",),
    ("monitoring", "demo", "adoption"),
    ("defs", "gc_tuning"),
    ("definitions",),
    ("cli",),
)
"""The package from the bottom up: a folder imports from its own layer and from those before it."""


def imports_of(file: Path) -> set[str]:
    """The folders and modules of the package that a file imports, lazily or not, by first name."""
    imported = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sqp_refresh"):
            parts = (node.module or "").split(".")[1:]
            imported |= {parts[0]} if parts else {alias.name for alias in node.names}
    return imported - {"__version__"}


def test_imports_point_from_the_upper_layers_to_the_lower_ones():
    depth = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    for file in PACKAGE.rglob("*.py"):
        place = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if place != "__init__":
            above = {name for name in imports_of(file) if depth[name] > depth[place]}
            assert not above, f"{file.relative_to(PACKAGE)} imports {above}"


def modules_imported_by(tree: ast.AST) -> Iterator[str]:
    """Yield each module or name that a program imports, also those in the text of a program."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r"(?:from|import) +(sqp_refresh_tests\.[\w.]+)", node.value)


def test_what_tests_share_is_in_modules_without_tests():
    for file in TESTS.rglob("*.py"):
        imported = modules_imported_by(ast.parse(file.read_text()))
        of_tests = {name.split(".")[-1] for name in imported if is_of_tests(name)}
        assert not of_tests, f"{file.relative_to(TESTS)} imports {of_tests} of a module of tests"


def is_of_tests(name: str) -> bool:
    """Return whether a module, or what is imported from it, is one that pytest collects."""
    words = name.split(".")
    return words[0] == "sqp_refresh_tests" and any(
        word == "conftest" or word.startswith("test_") for word in words
    )


def test_every_folder_of_the_package_is_in_the_wheel():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {
        ".".join(file.parent.relative_to(ROOT).parts) for file in PACKAGE.rglob("__init__.py")
    }
    folders |= {"sqp_refresh.migrations", "sqp_refresh.migrations.versions"}

    assert set(listed) == folders


def test_the_reference_names_every_setting_with_its_default():
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| (.+?) \|", REFERENCE, re.MULTILINE))

    assert rows.keys() == Settings.model_fields.keys()
    for name, default in rows.items():
        field = Settings.model_fields[name].default
        if field is None:
            assert "`" not in default or name == "REFRESH_DASHBOARD_PATH", name
        else:
            assert default == f"`{field}`", name


def test_the_readme_states_settings_as_the_reference_does():
    row = re.compile(r"^\| `([A-Z_]+)` \| (.+?) \|", re.MULTILINE)
    defaults = dict(row.findall(REFERENCE))

    for name, default in row.findall((ROOT / "README.md").read_text()):
        assert default == defaults[name], name


def test_the_reference_names_every_command_and_option():
    for words, command in commands_of(get_command(app)):
        assert f"`sqp-refresh {' '.join(words)}" in REFERENCE, words
        for parameter in command.params:
            for option in parameter.opts:
                if option.startswith("-") and option != "--help":
                    row = re.search(
                        rf"^\| .*`{option}\b.*\| (.+) \| .+ \|$", REFERENCE, re.MULTILINE
                    )
                    assert row and " ".join(words) in row[1], f"{words} {option}"


def commands_of(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """List the commands below this one that do something, each by its words."""
    if not hasattr(command, "commands"):
        yield words, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands_of(below, (*words, name))


def test_the_reference_names_every_control_table_and_view_with_its_columns(migrated_database):
    sections = dict(
        re.findall(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", REFERENCE, re.MULTILINE | re.DOTALL)
    )
    with psycopg.connect(migrated_database) as connection:
        columns = connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns "
            "WHERE table_schema = 'sqp' AND table_name <> 'alembic_version' "
            "AND table_name <> ALL(%s)",
            [list(TABLES)],
        ).fetchall()

    assert {table for table, _ in columns} == sections.keys()
    for table, column in columns:
        # The archive has the columns of the log.
        section = sections[table] + sections[table.removesuffix("_archive")]
        assert f"\n| `{column}` |" in section, f"{table}.{column}"


def test_the_reference_names_every_parameter_of_a_table():
    for name in SyncParams.model_fields:
        assert f"\n| `{name}` |" in REFERENCE, name


def test_the_readme_is_short_and_shows_the_dashboard():
    readme = (ROOT / "README.md").read_text()

    assert len(readme.split()) <= 900
    assert "(docs/dashboard.png)" in readme
    assert (ROOT / "docs" / "dashboard.png").stat().st_size < 300_000


def test_the_pages_name_every_table():
    page = (ROOT / "docs" / "data.md").read_text()

    for name in TABLES:
        assert f"`{name}`" in page, name


def test_the_index_names_every_page():
    index = (ROOT / "docs" / "index.md").read_text()

    for page in PAGES:
        if page.name not in ("index.md", "CHANGELOG.md"):
            assert f"{page.name})" in index, page.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page):
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text()):
        name, _, section = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if section:
            titles = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
            assert section in anchors, link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_module_that_a_page_names_exists(page):
    folders = "|".join(sorted(path.name for path in PACKAGE.iterdir() if path.is_dir()))
    for path in re.findall(rf"`((?:sqp_refresh/)?(?:{folders})/[\w/]+\.py)`", page.read_text()):
        assert (PACKAGE / path.removeprefix("sqp_refresh/")).exists(), path


def commands_named(page: str) -> list[list[str]]:
    """Every `sqp-refresh …` of a page, in words: in backticks, or a line of a shell block."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    lines = [line for kind, block in fenced if kind != "sql" for line in block.splitlines()]
    named = [re.search(r"\bsqp-refresh (.*?)(?: *[#|>;&].*)?$", line) for line in lines]
    commands = [match[1] for match in named if match] + re.findall(r"`sqp-refresh ([^`\n]+)`", page)
    return [words.split() for words in commands]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_of_a_page_exists(page):
    commands = commands_named(page.read_text())

    assert commands or page.name != "runbook.md"
    for words in commands:
        command: Any = get_command(app)
        for word in words:
            if hasattr(command, "commands"):
                assert word in command.commands, " ".join(words)
                command = command.commands[word]
            elif word.startswith("--"):
                options = {name for option in command.params for name in option.opts} | {"--help"}
                assert word in options, " ".join(words)


def test_the_quality_page_names_every_check_and_metric():
    page = (ROOT / "docs" / "quality.md").read_text()

    for metric in METRICS.values():
        assert f"`{metric.check}`" in page
        assert f"`{metric.name}`" in page


def test_constraints_are_pins_and_nothing_else():
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line), line


# The words that gave way to those of the field, as names of variables, functions and classes.
OLD_WORDS = {
    *("one", "found", "said", "wanted", "told"),
    *("Published", "Held", "Known", "Finding", "Reason", "Undecided", "read_twice", "with_gained"),
    *("Part", "Raw", "Facts", "Feed", "feed", "Question", "Answer", "Landed", "made_ready"),
    *("Incoming", "left_out", "set_aside", "Sieve", "Sifted", "sieve", "Refused", "Reading"),
    *("convert_readable", "Weight", "Bounds", "only_writer", "is_free", "persistently"),
    *("patience_s", "waits_for_disk", "Order", "Launcher", "Summary", "Died", "BigQueryReader"),
    *("PostgresTables", "BigQueryFeed", "Scene", "ENCODED", "PLACE"),
}


def names_in(file: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(file.read_text())))
    defined = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    arguments = {node.arg for node in nodes if isinstance(node, ast.arg)}
    return defined | arguments | {node.id for node in nodes if isinstance(node, ast.Name)}


@pytest.mark.parametrize("folder", [PACKAGE, TESTS], ids=["package", "tests"])
def test_names_are_the_words_of_the_field(folder):
    for file in folder.rglob("*.py"):
        assert not names_in(file) & OLD_WORDS, file.relative_to(ROOT)


def test_a_listing_of_the_package_shows_the_program():
    modules = [file for file in PACKAGE.glob("*.py") if file.stem != "__init__"]
    assert len(modules) <= 6
    for folder in {file.parent for file in PACKAGE.rglob("*.py")}:
        files = [file for file in folder.glob("*.py") if file.stem != "__init__"]
        assert len(files) <= 14, folder.relative_to(ROOT)
    names = [file.stem for file in PACKAGE.rglob("*.py") if file.stem != "__init__"]
    alike = {name for name in names if names.count(name) > 1}
    # The plain words: what is read from BigQuery or Postgres, and what loading or a refresh did.
    assert alike == {"source", "result"}


def test_functions_are_short_enough_to_see_at_once():
    lengths = [
        (node.end_lineno or 0) - node.lineno + 1
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef)
    ]
    assert max(lengths) <= 60
    assert sorted(lengths)[len(lengths) * 9 // 10] <= 22
    assert len((PACKAGE / "refresh" / "run.py").read_text().splitlines()) <= 150


def test_no_two_modules_import_each_other_even_lazily():
    modules = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts): file
        for file in PACKAGE.rglob("*.py")
    }
    graph = {name: set[str]() for name in modules}
    for name, file in modules.items():
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                imported = {f"{node.module}.{alias.name}" for alias in node.names}
                graph[name] |= ({node.module} | imported) & modules.keys() - {name}
    list(TopologicalSorter(graph).static_order())
