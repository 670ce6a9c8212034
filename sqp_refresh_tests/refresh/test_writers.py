"""How several writers publish periods of one table at the same time."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from sqp_refresh.control import checkpoints
from sqp_refresh.control.proofs import read_chain
from sqp_refresh.errors import DataError, NoConnection, RefreshError, Rejected, Stopped, Unavailable
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import SEARCH_QUERY_PERFORMANCE
from sqp_refresh.postgres.session import connect
from sqp_refresh.refresh.periods import writers as writing
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.result import RefreshResult
from sqp_refresh.refresh.run import refresh
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.deliveries import Delivery
from sqp_refresh_tests.helpers.rows import row, source_table

SUNDAY = date(2025, 8, 3)
WEEKS = [Period.week_of(SUNDAY + timedelta(weeks=number)) for number in range(6)]
QUERIES = ("blue widget", "red widget")
PATIENCE_S = 60


@dataclass(slots=True)
class Batches(Sequence[pa.RecordBatch]):
    """The rows of a week; what has to happen before they are read, or after, is called then."""

    week: Period
    before: Callable[[], object] = lambda: None
    after: Callable[[], object] = lambda: None
    clicks: int = 5
    read: list[int] = field(default_factory=list)

    def __getitem__(self, number: Any) -> Any:
        return self._batches[number]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        self.read.append(threading.get_ident())
        self.before()
        yield from self._batches
        self.after()

    @property
    def _batches(self) -> list[pa.RecordBatch]:
        clicks = (542, self.clicks)
        table = [row(day=self.week.start, query=query, clicks=clicks) for query in QUERIES]
        return source_table(table).to_batches()


def load(url: str, weeks: list[Batches], *, writers: int = 2, run: str = "night") -> RefreshResult:
    """Refresh these weeks; none of them is tried again at once where it fails."""
    delivery = Delivery({of.week: of for of in weeks})
    return refresh(url, delivery, RefreshRequest(run, writers=writers))


def published(url: str) -> list[Period]:
    days = rows(url, "SELECT DISTINCT start_date FROM sqp.search_query_performance ORDER BY 1")
    return [Period.week_of(day) for (day,) in days]


def checkpoint_rows(url: str) -> list[tuple[str, str, int]]:
    return rows(
        url,
        "SELECT function_name, status, jsonb_array_length(checkpoint_data->'published')"
        " FROM sqp.refresh_checkpoints ORDER BY id",
    )


def assert_certified(url: str, certificates: int) -> None:
    with connect(url) as session:
        chain = read_chain(session, SEARCH_QUERY_PERFORMANCE)
    assert chain.faults == ()
    assert chain.entries == certificates


def fail(error: type[Exception]) -> Callable[[], None]:
    """Return what raises this error."""

    def raises() -> None:
        raise error("the source broke off")

    return raises


@pytest.fixture
def url(migrated_database) -> str:
    return migrated_database


def test_two_weeks_are_read_and_published_at_the_same_time(url):
    # Each of them is read on only once the other is read, too.
    both = threading.Barrier(2, timeout=PATIENCE_S)

    result = load(url, [Batches(week, both.wait) for week in WEEKS[:2]])

    assert list(result.loaded) == WEEKS[:2]
    assert published(url) == WEEKS[:2]


@pytest.mark.parametrize("writers", [1, 2, 4, 9])
def test_any_number_of_writers_does_the_same(url, writers):
    weeks = [Batches(week) for week in WEEKS]

    result = load(url, weeks, writers=writers)

    assert list(result.loaded) == WEEKS
    assert (result.counts.read, result.counts.inserted) == (12, 12)
    assert published(url) == WEEKS
    assert [len(of.read) for of in weeks] == [1] * len(WEEKS)
    assert len({of.read[0] for of in weeks}) <= min(writers, len(WEEKS))
    assert checkpoint_rows(url) == [("refresh", "completed", len(WEEKS))]
    ((last,),) = rows(url, "SELECT last_processed_row FROM sqp.refresh_checkpoints")
    assert last == result.counts.read


def test_certificates_of_all_writers_are_one_chain(url, monkeypatch):
    from sqp_refresh.checks.certificates import certify as certifying
    from sqp_refresh.refresh.periods import publish as publishing

    def certify(session, table, period, version, held):
        return certifying.Proof(held, held)

    monkeypatch.setattr(publishing, "certify", certify)
    load(url, [Batches(week) for week in WEEKS], writers=4)
    load(url, [Batches(week, clicks=7) for week in WEEKS], writers=3)

    assert_certified(url, 2 * len(WEEKS))


def test_what_is_published_while_one_writer_fails_is_gone_on_from(url):
    failed = threading.Event()

    class PowerCutError(BaseException):
        pass

    def cut() -> None:
        raise PowerCutError

    # The first week is published once the reading of the second has been ended.
    others = [Batches(WEEKS[0]), *(Batches(week) for week in WEEKS[2:])]
    broken = Batches(WEEKS[1], before=cut, after=failed.set)
    with pytest.raises(PowerCutError):
        load(url, [others[0], broken, *others[1:]], run="dead")
    there = published(url)
    assert WEEKS[1] not in there

    result = load(url, [Batches(week) for week in WEEKS], run="next")

    assert published(url) == WEEKS
    assert result.resumes == "dead"
    ((data,),) = rows(
        url, "SELECT checkpoint_data FROM sqp.refresh_checkpoints WHERE status = 'completed'"
    )
    assert sorted(data["published"]) == [str(week) for week in WEEKS]


def test_the_progress_of_all_writers_is_found_by_whoever_goes_on(url):
    with connect(url) as session, session.transaction():
        begun = checkpoints.begin(
            session,
            SEARCH_QUERY_PERFORMANCE,
            run_id="dead",
            periods=WEEKS,
            rows=None,
            forced=False,
            resumed=None,
        )
        shared = checkpoints.share(session, SEARCH_QUERY_PERFORMANCE, begun, 3)
        for checkpoint, week in zip(shared, WEEKS[1:], strict=False):
            checkpoints.save(session, checkpoint, week, rows=10)

    with connect(url) as session, session.transaction():
        interrupted = checkpoints.find_active(session, SEARCH_QUERY_PERFORMANCE)
        assert interrupted
        assert sorted(interrupted.published) == [str(week) for week in WEEKS[1:4]]
        again = checkpoints.begin(
            session,
            SEARCH_QUERY_PERFORMANCE,
            run_id="next",
            periods=[WEEKS[0], *WEEKS[4:]],
            rows=60,
            forced=False,
            resumed=interrupted,
        )
    assert again.resumes == "dead"
    assert checkpoint_rows(url) == [("refresh", "active", 3)]
    counted = "SELECT last_processed_row, total_rows FROM sqp.refresh_checkpoints"
    assert rows(url, counted) == [(30, 90)]


def test_a_writer_of_a_refresh_that_was_taken_over_publishes_nothing_more(url):
    of_run = {"rows": None, "forced": False, "periods": WEEKS}
    with connect(url) as session, session.transaction():
        begun = checkpoints.begin(
            session, SEARCH_QUERY_PERFORMANCE, run_id="old", resumed=None, **of_run
        )
        _, second = checkpoints.share(session, SEARCH_QUERY_PERFORMANCE, begun, 2)
    with connect(url) as session, session.transaction():
        interrupted = checkpoints.find_active(session, SEARCH_QUERY_PERFORMANCE)
        checkpoints.begin(
            session, SEARCH_QUERY_PERFORMANCE, run_id="new", resumed=interrupted, **of_run
        )

    with (
        connect(url) as session,
        pytest.raises(Stopped, match="another run has taken it over"),
        session.transaction(),
    ):
        checkpoints.save(session, second, WEEKS[0], rows=1)


BY_COMMAND = "UPDATE sqp.refresh_checkpoints SET status = 'expired'"
BY_HAND = f"{BY_COMMAND} WHERE function_name = 'refresh'"
DISABLED = "UPDATE sqp.refresh_config SET is_enabled = false"


@pytest.mark.parametrize("statement", [BY_COMMAND, BY_HAND, DISABLED])
def test_an_operator_stops_every_writer_at_its_next_week(url, statement):
    both = threading.Barrier(2, timeout=PATIENCE_S)

    def stop() -> None:
        # The third and the fourth week are about to be published now.
        execute(url, statement)
        both.wait()

    weeks = [Batches(week, before=both.wait) for week in WEEKS[:2]]
    weeks += [Batches(WEEKS[2], before=stop), Batches(WEEKS[3], before=both.wait)]
    weeks += [Batches(week) for week in WEEKS[4:]]

    with pytest.raises(Stopped, match=r"stopped by an operator|disabled"):
        load(url, weeks)

    assert checkpoint_rows(url)[0][0] == "refresh"
    assert len(checkpoint_rows(url)) == 1
    assert set(published(url)) <= set(WEEKS[:4])
    assert WEEKS[5] not in published(url)


def test_a_week_that_breaks_off_is_rejected_and_every_other_is_published(url):
    weeks = [Batches(week) for week in WEEKS]
    weeks[2] = Batches(WEEKS[2], after=fail(DataError))

    with pytest.raises(Rejected, match="the source broke off"):
        load(url, weeks, writers=3)

    assert published(url) == [week for week in WEEKS if week != WEEKS[2]]


def test_what_is_transient_is_tried_again_and_no_week_is_left_out(url):
    once = iter([fail(Unavailable)])
    weeks = [Batches(week) for week in WEEKS]
    weeks[3] = Batches(WEEKS[3], before=lambda: next(once, lambda: None)())

    result = load(url, weeks, writers=3)

    assert published(url) == WEEKS
    assert list(result.loaded) == WEEKS


def test_a_refresh_goes_on_with_the_connections_that_there_are(url, monkeypatch, caplog):
    def refuse(*_: object, **__: object) -> object:
        raise NoConnection("too many connections")

    monkeypatch.setattr(writing, "connect", refuse)

    with caplog.at_level("INFO", logger="sqp_refresh"):
        result = load(url, [Batches(week) for week in WEEKS], writers=4)

    assert list(result.loaded) == WEEKS
    assert "going on with fewer writers: too many connections" in caplog.text


def test_what_a_writer_loses_its_connection_over_is_left_to_the_others(url, monkeypatch):
    load_as_other = writing._load_as_other

    def without_connection(load, writer, queue):
        def give_up(writer, queue):
            taken = writing.TakenPeriods(queue)
            next(iter(taken), None)
            taken.put_back()
            raise NoConnection("the pooler has none left")

        load_as_other(give_up, writer, queue)

    monkeypatch.setattr(writing, "_load_as_other", without_connection)

    result = load(url, [Batches(week) for week in WEEKS], writers=3)

    assert list(result.loaded) == WEEKS


def test_a_table_whose_rows_are_altered_has_one_writer(url):
    execute(
        url,
        "CREATE TABLE public.writes (number int); INSERT INTO public.writes VALUES (0);"
        " CREATE FUNCTION public.count_writes() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN UPDATE public.writes SET number = number + 1; RETURN NEW; END$$;"
        " CREATE TRIGGER counts BEFORE INSERT ON sqp.search_query_performance"
        " FOR EACH ROW EXECUTE FUNCTION public.count_writes()",
    )

    result = load(url, [Batches(week) for week in WEEKS], writers=4)

    assert list(result.loaded) == WEEKS
    assert result.reloaded == []
    assert rows(url, "SELECT number FROM public.writes") == [(12,)]


def test_a_connection_that_is_ended_ends_no_refresh(url):
    def end_others() -> None:
        with psycopg.connect(url) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname ="
                " current_database() AND application_name = 'sqp_refresh'"
            )

    once = iter([end_others])
    weeks = [Batches(week) for week in WEEKS]
    weeks[4] = Batches(WEEKS[4], before=lambda: next(once, lambda: None)())

    result = load(url, weeks, writers=3)

    assert list(result.loaded) == WEEKS
    assert published(url) == WEEKS


def test_a_chain_of_which_the_end_is_not_known_is_not_added_to():
    chain = writing.ProofChain("abc")

    def lose() -> None:
        with chain.turn():
            raise Unavailable("the connection was lost")

    def give_up() -> None:
        with chain.turn():
            raise DataError("a value does not fit")

    with pytest.raises(DataError):
        give_up()
    with pytest.raises(Unavailable):
        lose()
    with pytest.raises(RefreshError, match="another writer has lost its connection"):
        give_up()
