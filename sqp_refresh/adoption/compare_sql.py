"""Compose the comparison of one table with one of another schema: one FULL JOIN, in Postgres.

Its rows go into a temporary table, from which everything that is told of them is counted. Rows are
grouped by the columns of the key that both sides have: what is finer on one side, as a row for each
query or marketplace, is added up, as far as it may be.
"""

from collections.abc import Iterable, Sequence
from datetime import date

from psycopg import sql

from sqp_refresh.adoption.pairing import OWN, PARENT_KEY, PARENT_TABLE, ColumnPair, Pairing
from sqp_refresh.adoption.relations import DAY, NUMBER, TEXT
from sqp_refresh.adoption.value_patterns import OTHER, VALUE_PATTERNS
from sqp_refresh.model.periods import DAYS_IN_WEEK, Grain
from sqp_refresh.model.tables import ASIN_PERFORMANCE_DATA, SCHEMA
from sqp_refresh.postgres.session import type_name

HERE, THERE = "here", "there"
_TYPES = {
    NUMBER: sql.SQL("numeric"),
    DAY: sql.SQL("date"),
    # Two columns may have two collations, in which Postgres compares nothing.
    TEXT: sql.SQL('text COLLATE pg_catalog."C"'),
}
COMPARED = sql.Identifier("pg_temp", "__sqp_compared")

# OFFSET 0 has Postgres judge each row once, not wherever the verdict is named. Texts are made of
# the values of those rows only that differ.
_COMPARE = sql.SQL("""
CREATE TEMPORARY TABLE __sqp_compared ON COMMIT DROP AS
WITH here AS ({here}), there AS ({there})
SELECT {period} AS period, here.number_of_rows AS here_rows, there.number_of_rows AS there_rows,
    {is_monday} AS is_monday, {is_parent} AS is_parent,
    CASE WHEN differs THEN hows END AS hows,
    CASE WHEN differs THEN ARRAY[{here_values}]::text[] END AS here_values,
    CASE WHEN differs THEN ARRAY[{there_values}]::text[] END AS there_values,
    CASE WHEN differs OR hows IS NULL THEN {key} END AS key
FROM here FULL JOIN there ON {same_key}
CROSS JOIN LATERAL (
    SELECT CASE WHEN here.number_of_rows > 0 AND there.number_of_rows > 0
        THEN ARRAY[{hows}]::text[] END AS hows OFFSET 0
) AS compared
CROSS JOIN LATERAL (SELECT array_remove(hows, NULL) <> '{{}}' AS differs OFFSET 0) AS judged
""")
_SIDE = sql.SQL("""
    SELECT {columns}, count(*) AS number_of_rows FROM {table} AS own {parent} WHERE {within}
    GROUP BY {key}
""")
_JOIN_PARENT = sql.SQL("LEFT JOIN {} AS parent ON parent.id = own.{}")
# Where one side has several rows, what cannot be added up is not compared.
_HOW = sql.SQL("CASE WHEN {same} THEN NULL {other_rows} {patterns} ELSE {other} END")
_SINGLE = sql.SQL("WHEN here.number_of_rows > 1 OR there.number_of_rows > 1 THEN NULL")

# Of the rows that are only there, those of an ASIN that is the parent of others here.
_IS_PARENT = sql.SQL("""
    here.number_of_rows IS NULL AND {asin} IN (
        SELECT parent_asin FROM {titles} WHERE parent_asin <> asin
    )
""")

ROWS_BY_PERIOD = sql.SQL("""
SELECT period,
    count(*) FILTER (WHERE here_rows > 0 AND there_rows > 0) AS both,
    coalesce(sum(here_rows) FILTER (WHERE there_rows IS NULL), 0)::bigint AS only_here,
    coalesce(sum(there_rows) FILTER (WHERE here_rows IS NULL), 0)::bigint AS only_there,
    count(*) FILTER (WHERE hows IS NOT NULL) AS differing,
    coalesce(sum(here_rows), 0)::bigint AS rows_here,
    coalesce(sum(there_rows), 0)::bigint AS rows_there,
    coalesce(sum(there_rows) FILTER (WHERE is_parent), 0)::bigint AS of_parents,
    coalesce(sum(there_rows) FILTER (WHERE is_monday), 0)::bigint AS on_mondays,
    count(*) FILTER (WHERE there_rows > here_rows) AS finer_there,
    count(*) FILTER (WHERE here_rows > there_rows) AS finer_here
FROM {} GROUP BY period ORDER BY period
""").format(COMPARED)
VALUES_BY_PERIOD = sql.SQL("""
SELECT period, name, how, count(*)
FROM {}, unnest(%(names)s::text[], hows) AS value (name, how)
WHERE how IS NOT NULL GROUP BY period, name, how ORDER BY count(*) DESC, how
""").format(COMPARED)
EXAMPLES = sql.SQL("""
SELECT name, how, key, here, there FROM (
    SELECT name, how, key, here, there,
        row_number() OVER (PARTITION BY name, how ORDER BY key) AS place
    FROM (
        SELECT name, how, key, here, there
        FROM {compared}, unnest(%(names)s::text[], hows, here_values, there_values)
            AS value (name, how, here, there)
        WHERE how IS NOT NULL
        UNION ALL
        SELECT NULL, CASE WHEN there_rows IS NULL THEN 'only_here' ELSE 'only_there' END, key,
            NULL, NULL
        FROM {compared} WHERE here_rows IS NULL OR there_rows IS NULL
    ) AS every
) AS placed WHERE place <= %(sample)s ORDER BY name, how, place
""").format(compared=COMPARED)


def compare_rows(
    pairing: Pairing, schema: str, first: date | None, last: date | None
) -> sql.Composed:
    """Return the statement that joins both tables into a temporary one, which `COMPARED` names.

    Args:
        pairing: How the columns of both correspond.
        schema: The other schema.
        first: The first day that a period may begin on; None is any.
        last: The last day that a row may be of; None is any.
    """
    key = _key(pairing)
    numbers = range(len(pairing.values))
    return _COMPARE.format(
        here=_side(pairing, SCHEMA, HERE, first, last),
        there=_side(pairing, schema, THERE, first, last),
        period=_period(pairing),
        is_monday=_is_monday(pairing),
        is_parent=_is_parent(pairing),
        hows=_listed(_how(pairing, number) for number in numbers),
        key=sql.SQL("jsonb_build_object({})").format(
            _listed(
                item
                for number, pair in enumerate(key)
                for item in (sql.Literal(pair.here.name), _either(_key_name(number)))
            )
        ),
        here_values=_listed(sql.Identifier(HERE, _value_name(number)) for number in numbers),
        there_values=_listed(sql.Identifier(THERE, _value_name(number)) for number in numbers),
        same_key=sql.SQL(" AND ").join(
            sql.SQL("{} = {}").format(
                sql.Identifier(HERE, _key_name(number)), sql.Identifier(THERE, _key_name(number))
            )
            for number in range(len(key))
        ),
    )


def _side(
    pairing: Pairing, schema: str, side: str, first: date | None, last: date | None
) -> sql.Composed:
    """Return one side's rows, grouped by the key that both have."""
    key = [_typed_key(pair, side) for pair in _key(pairing)]
    columns = [
        sql.SQL("{} AS {}").format(expression, sql.Identifier(_key_name(number)))
        for number, expression in enumerate(key)
    ]
    for number, pair in enumerate(pairing.values):
        aggregate = "sum" if pair.kind == NUMBER and pairing.is_additive(pair.here.name) else "min"
        value = sql.SQL("{}({})").format(type_name(aggregate), _typed(pair, side))
        columns.append(sql.SQL("{} AS {}").format(value, sql.Identifier(_value_name(number))))
    refers = side == THERE and pairing.refers_to_parent
    parent = _JOIN_PARENT.format(sql.Identifier(schema, PARENT_TABLE), sql.Identifier(PARENT_KEY))
    return _SIDE.format(
        columns=_listed(columns),
        table=sql.Identifier(schema, pairing.table.name),
        parent=parent if refers else sql.SQL(""),
        within=_within(pairing, side, first, last),
        key=_listed(key),
    )


def _within(pairing: Pairing, side: str, first: date | None, last: date | None) -> sql.Composable:
    if pairing.scope is None:
        return sql.SQL("true")
    day = _typed(pairing.scope, side)
    conditions = [
        sql.SQL("{} {} {}").format(day, type_name(operator), sql.Literal(limit))
        for operator, limit in ((">=", first), ("<=", last))
        if limit is not None
    ]
    return sql.SQL(" AND ").join(conditions) if conditions else sql.SQL("true")


def _typed(pair: ColumnPair, side: str) -> sql.Composed:
    """Return a value of one side as what it is compared as."""
    value = pair.value if side == THERE else sql.Identifier(OWN, pair.here.name)
    as_type = sql.SQL("bigint") if pair.is_whole else _TYPES[pair.kind]
    return sql.SQL("({})::{}").format(value, as_type)


def _typed_key(pair: ColumnPair, side: str) -> sql.Composed:
    """Return a value of the key, which has to be found also where it is cut off or padded there."""
    value = _typed(pair, side)
    if pair.here.name == "asin":
        value = sql.SQL("btrim({})").format(value)
    if side == HERE and pair.kind == TEXT and pair.there.length is not None:
        value = sql.SQL("left({}, {})").format(value, sql.Literal(pair.there.length))
    return value


def _how(pairing: Pairing, number: int) -> sql.Composed:
    """Return how a value differs: the name of a pattern, or null where it does not."""
    pair = pairing.values[number]
    here, there = (
        sql.Identifier(HERE, _value_name(number)),
        sql.Identifier(THERE, _value_name(number)),
    )
    same = sql.SQL("{} IS NOT DISTINCT FROM {}").format(here, there)
    if pair.kind == NUMBER and pair.rounding:
        near = sql.SQL("{} OR abs({} - {}) <= {}")
        same = near.format(same, here, there, sql.Literal(pair.rounding))
    sides = {"here": here, "there": there, "near": sql.Literal(pair.rounding_of_hundredth)}
    patterns = [
        sql.SQL("WHEN {} THEN {}").format(
            pattern.condition.format(**sides), sql.Literal(pattern.name)
        )
        for pattern in VALUE_PATTERNS
        if pair.kind in pattern.kinds
    ]
    return _HOW.format(
        same=same,
        other_rows=sql.SQL("") if pairing.is_additive(pair.here.name) else _SINGLE,
        patterns=sql.SQL(" ").join(patterns),
        other=sql.Literal(OTHER),
    )


def _period(pairing: Pairing) -> sql.Composable:
    """Return the first day of the period of a row; a week begins on Sunday on both sides."""
    grain = pairing.table.grain.published
    if pairing.scope is None:
        return sql.SQL("NULL::date")
    day = _either(_key_name(0))
    if grain is Grain.WEEK:
        to_sunday = sql.SQL("{day} - (extract(isodow FROM {day})::integer % {days})")
        return to_sunday.format(day=day, days=sql.Literal(DAYS_IN_WEEK))
    return sql.SQL("date_trunc({}, {})::date").format(sql.Literal(str(grain)), day)


def _is_monday(pairing: Pairing) -> sql.Composable:
    """Return whether a row there is of a week that begins on Monday."""
    if pairing.table.grain is not Grain.WEEK or pairing.scope is None:
        return sql.SQL("false")
    return sql.SQL("extract(isodow FROM {}) = 1").format(sql.Identifier(THERE, _key_name(0)))


def _is_parent(pairing: Pairing) -> sql.Composable:
    """Return whether a row that is only there is of an ASIN that is a parent of others here."""
    for number, pair in enumerate(_key(pairing)):
        if pair.here.name == "asin":
            return _IS_PARENT.format(
                asin=sql.Identifier(THERE, _key_name(number)),
                titles=sql.Identifier(SCHEMA, ASIN_PERFORMANCE_DATA.name),
            )
    return sql.SQL("false")


def _key(pairing: Pairing) -> Sequence[ColumnPair]:
    return (*((pairing.scope,) if pairing.scope else ()), *pairing.key)


def _key_name(number: int) -> str:
    return f"key_{number}"


def _value_name(number: int) -> str:
    return f"value_{number}"


def _either(name: str) -> sql.Composed:
    return sql.SQL("coalesce({}, {})").format(
        sql.Identifier(HERE, name), sql.Identifier(THERE, name)
    )


def _listed(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)
