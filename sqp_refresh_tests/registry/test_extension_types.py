"""A registered table may have columns of a type that is not one of Postgres's own."""

from sqp_refresh.model.periods import weeks_between
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.run import refresh
from sqp_refresh.refresh.sources import source_for
from sqp_refresh.registry.catalog import read_catalog
from sqp_refresh_tests.helpers.commands import output
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.weeks import FIRST, LAST, three_weeks

# As extensions make theirs: a type in schema public, whose operators are there, too.
TYPE = """
CREATE TYPE public.tag;
CREATE FUNCTION public.tag_in(cstring) RETURNS public.tag
    LANGUAGE internal STRICT IMMUTABLE AS 'textin';
CREATE FUNCTION public.tag_out(public.tag) RETURNS cstring
    LANGUAGE internal STRICT IMMUTABLE AS 'textout';
CREATE FUNCTION public.tag_eq(public.tag, public.tag) RETURNS boolean
    LANGUAGE internal STRICT IMMUTABLE AS 'texteq';
CREATE TYPE public.tag (
    INPUT = public.tag_in, OUTPUT = public.tag_out, LIKE = pg_catalog.text, COLLATABLE = true
);
CREATE OPERATOR public.= (FUNCTION = public.tag_eq, LEFTARG = public.tag, RIGHTARG = public.tag);
CREATE TABLE sqp.titles (
    asin text, query text, week date, title public.tag, PRIMARY KEY (asin, query, week)
);
"""
COLUMNS = ("Child ASIN=asin", "Search Query=query", "Date=week", "Product Name=title")


def test_a_value_of_an_extension_s_type_is_compared_and_changed(environment, source):
    execute(environment.database_url, TYPE)
    source.write(three_weeks())
    output(
        *("register", "titles", "--source", environment.BIGQUERY_SOURCE_TABLE),
        *("--key", "asin", "--key", "query", "--key", "week", "--week-column", "Date"),
        *(word for column in COLUMNS for word in ("--column", column)),
    )

    def refreshed(*, force: bool = False):
        table = read_catalog(environment).table("titles")
        read = source_for(environment, table, list(weeks_between(FIRST, LAST)))
        return refresh(environment.database_url, read, RefreshRequest("r", force=force)).counts

    first, again = refreshed(), refreshed(force=True)
    source.replace([*three_weeks()[1:], three_weeks()[0] | {"Product Name": "Renamed"}])
    changed = refreshed()

    assert (first.inserted, again.changed, again.unchanged, changed.updated) == (12, 0, 12, 1)
    assert rows(
        environment.database_url,
        "SELECT title::text FROM sqp.titles WHERE asin = 'B000000001' AND query = 'blue widget'"
        f" AND week = '{FIRST}'",
    ) == [("Renamed",)]
