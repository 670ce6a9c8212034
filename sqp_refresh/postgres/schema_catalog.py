"""Read what the relations of schema `sqp` are, from Postgres and from the file of this release.

`migrations/schema.json` says what a database is once every migration was applied; a test holds it.
Indexes and constraints are known by what they are, not by their names, which others may use.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Self

from sqp_refresh.model.tables import SCHEMA
from sqp_refresh.postgres.migration_files import FOLDER, read_file
from sqp_refresh.postgres.session import Session

SCHEMA_FILE = FOLDER / "schema.json"

_COLUMNS = """
SELECT relname::text, relkind = 'v', attname::text, concat_ws(
        ' COLLATE ', format_type(atttypid, atttypmod),
        CASE WHEN attcollation <> typcollation THEN attcollation::regcollation::text END
    ), attnotnull, attidentity <> '', attgenerated <> '', pg_get_expr(adbin, adrelid)
FROM pg_class
JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
JOIN pg_type ON pg_type.oid = atttypid
LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE relnamespace = %(schema)s::regnamespace AND relkind IN ('r', 'p', 'v')
    AND (%(relation)s::text IS NULL OR relname = %(relation)s)
ORDER BY relname, attnum
"""
_CONSTRAINTS = """
SELECT relname::text, pg_get_constraintdef(pg_constraint.oid)
FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid
WHERE relnamespace = %(schema)s::regnamespace AND contype IN ('p', 'u', 'f', 'c')
    AND (%(relation)s::text IS NULL OR relname = %(relation)s)
ORDER BY relname, contype DESC, conname
"""
# An index is what follows its name, and the word that it may stand before.
_INDEXES = """
SELECT target.relname::text, index.relname::text,
    regexp_replace(replace(
        pg_get_indexdef(index.oid), format('INDEX %%I ON ', index.relname), 'INDEX ON '
    ), '^CREATE (UNIQUE )?INDEX ON ONLY ', 'CREATE \\1INDEX ON '),
    indisvalid AND indisready AND indislive, EXISTS (
        SELECT FROM pg_constraint WHERE conindid = index.oid AND contype IN ('p', 'u', 'x')
    )
FROM pg_index
JOIN pg_class AS target ON target.oid = indrelid
JOIN pg_class AS index ON index.oid = indexrelid
WHERE target.relnamespace = %(schema)s::regnamespace AND target.relkind IN ('r', 'p')
    AND (%(relation)s::text IS NULL OR target.relname = %(relation)s)
ORDER BY target.relname, index.relname
"""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a relation.

    Attributes:
        default: The expression of its default, as SQL; None where it has none.
        is_generated: Whether Postgres computes it from other columns.
    """

    name: str
    type: str
    is_not_null: bool = False
    is_identity: bool = False
    is_generated: bool = False
    default: str | None = None

    @property
    def is_filled(self) -> bool:
        """Whether an INSERT that does not name it enters a row."""
        return not self.is_not_null or self.is_identity or self.default is not None

    @property
    def definition(self) -> str:
        """Its type and what follows, as SQL."""
        parts = [self.type]
        if self.is_identity:
            parts.append("GENERATED ALWAYS AS IDENTITY")
        if self.default is not None:
            parts.append(f"DEFAULT {self.default}")
        return " ".join([*parts, "NOT NULL"] if self.is_not_null else parts)


@dataclass(frozen=True, slots=True)
class Index:
    """An index of a table.

    Attributes:
        definition: The statement that creates it, without its name.
        is_of_constraint: Whether it belongs to a constraint, e.g. the primary key.
    """

    name: str
    definition: str
    is_valid: bool = True
    is_of_constraint: bool = False

    def serves(self, definition: str) -> bool:
        """Return whether it does what an index of this definition would; it may have more columns.

        Args:
            definition: `CREATE INDEX ON … USING btree (…)`.
        """
        if not self.is_valid or self.definition == definition:
            return self.is_valid
        columns = definition.removesuffix(")")
        here = self.definition.replace("CREATE UNIQUE INDEX", "CREATE INDEX", 1)
        return here.startswith((f"{columns},", f"{columns})")) and " WHERE " not in here


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or view.

    Attributes:
        constraints: The definitions of its primary key and of its unique, foreign key and check
            constraints, as SQL.
        indexes: Its indexes.
    """

    is_view: bool
    columns: dict[str, Column] = field(default_factory=dict)
    constraints: list[str] = field(default_factory=list)
    indexes: list[Index] = field(default_factory=list)

    @classmethod
    def from_json(cls, relation: Mapping[str, Any]) -> Self:
        """Return what `to_json` made a value for JSON of."""
        return cls(
            is_view=relation["is_view"],
            columns={name: Column(name, **rest) for name, rest in relation["columns"].items()},
            constraints=relation["constraints"],
            indexes=[Index(*item) for item in relation["indexes"].items()],
        )

    def to_json(self) -> dict[str, Any]:
        """Return the relation as a value for JSON; what is usual of a column is left out."""
        usual = Column("", "")
        parts = ("type", "is_not_null", "is_identity", "is_generated", "default")
        return {
            "is_view": self.is_view,
            "columns": {
                name: {
                    part: getattr(column, part)
                    for part in parts
                    if getattr(column, part) != getattr(usual, part)
                }
                for name, column in self.columns.items()
            },
            "constraints": self.constraints,
            "indexes": {
                index.name: index.definition for index in self.indexes if not index.is_of_constraint
            },
        }


@cache
def release_schema() -> Mapping[str, Relation]:
    """Return what the relations of schema `sqp` are in this release, by name."""
    relations = json.loads(read_file(SCHEMA_FILE))
    return {name: Relation.from_json(relation) for name, relation in relations.items()}


def read_schema(session: Session, relation: str | None = None) -> dict[str, Relation]:
    """Read what the relations of schema `sqp` are in a database, or one of them, by name."""
    params = {"schema": SCHEMA, "relation": relation}
    relations: dict[str, Relation] = {}
    for name, is_view, *parts in session.fetch_all(_COLUMNS, params):
        column = Column(*parts)
        relations.setdefault(name, Relation(is_view)).columns[column.name] = column
    for name, constraint in session.fetch_all(_CONSTRAINTS, params):
        relations[name].constraints.append(constraint)
    for name, index in read_indexes(session, relation):
        relations[name].indexes.append(index)
    return relations


def read_indexes(session: Session, relation: str | None = None) -> list[tuple[str, Index]]:
    """Read the indexes of one table, or of all, each with its table."""
    params = {"schema": SCHEMA, "relation": relation}
    return [(table, Index(*parts)) for table, *parts in session.fetch_all(_INDEXES, params)]
