"""Say in which ways two values of a column may differ, as conditions in SQL and in words.

Each pattern is tried in this order, and the first that holds is the one that is counted.
"""

from dataclasses import dataclass

from psycopg import sql

from sqp_refresh.adoption.relations import DAY, NUMBER, TEXT

OTHER = "other"
IS_USUAL = 0.9
"""The share of the values that differ which have to do so in one way, for it to be the cause."""


@dataclass(frozen=True, slots=True)
class ValuePattern:
    """One way in which a value there differs from the one here.

    Attributes:
        name: What it is called in JSON.
        kinds: The kinds of columns that may.
        condition: What holds of `here` and `there`, as SQL; `near` is how far apart two numbers are
            that are equal once a factor of a hundred is taken out.
        words: What it is called at a terminal.
        cause: What it comes from, where that is known.
    """

    name: str
    kinds: frozenset[str]
    condition: sql.SQL
    words: str
    cause: str = ""


_ANY = frozenset({NUMBER, DAY, TEXT})
_NUMBER, _TEXT, _DAY = frozenset({NUMBER}), frozenset({TEXT}), frozenset({DAY})
VALUE_PATTERNS = (
    ValuePattern(
        "zero_against_null",
        _NUMBER,
        sql.SQL("{there} = 0 AND {here} IS NULL"),
        "0 there and null here",
        "zero stands for null there: nothing was counted, or nothing was divided by nothing",
    ),
    ValuePattern(
        "null_against_zero",
        _NUMBER,
        sql.SQL("{there} IS NULL AND {here} = 0"),
        "null there and 0 here",
        "null stands for zero there",
    ),
    ValuePattern(
        "null_there",
        _ANY,
        sql.SQL("{there} IS NULL"),
        "null there",
        "it is not filled there",
    ),
    ValuePattern("null_here", _ANY, sql.SQL("{here} IS NULL"), "null here"),
    ValuePattern(
        "hundredth",
        _NUMBER,
        sql.SQL("{there} <> 0 AND abs({there} * 100.0 - {here}) <= {near}"),
        "a hundredth there",
        "it is a fraction there and a percentage here",
    ),
    ValuePattern(
        "hundredfold",
        _NUMBER,
        sql.SQL("{here} <> 0 AND abs({here} * 100.0 - {there}) <= {near}"),
        "a hundredfold there",
        "a percentage was multiplied by a hundred once more there",
    ),
    ValuePattern(
        "cut_off",
        _TEXT,
        sql.SQL(
            "{there} <> '' AND length({there}) < length({here}) AND starts_with({here}, {there})"
        ),
        "cut off there",
        "the column there is too short, and texts are cut off",
    ),
    ValuePattern(
        "case_or_blanks",
        _TEXT,
        sql.SQL("lower(btrim({there})) = lower(btrim({here}))"),
        "other case or blanks",
        "letters or blanks are changed there",
    ),
    ValuePattern(
        "one_day",
        _DAY,
        sql.SQL("abs({there} - {here}) = 1"),
        "a day off",
        "days are one off there, as a time zone or a week that begins on Monday makes them",
    ),
)
_BY_NAME = {pattern.name: pattern for pattern in VALUE_PATTERNS}


def words_for(how: str) -> str:
    """Return what a pattern is called at a terminal."""
    return _BY_NAME[how].words if how in _BY_NAME else "otherwise"


def cause_of(how: str) -> str:
    """Return what a pattern comes from, or nothing."""
    return _BY_NAME[how].cause if how in _BY_NAME else ""
