import grpc
import pyarrow as pa
import pytest

from sqp_refresh import retrying
from sqp_refresh.errors import AccessDenied, NotFound, Unavailable
from sqp_refresh.extract import storage_read
from sqp_refresh.extract.client import storage_client
from sqp_refresh.settings import Settings
from sqp_refresh_tests.extract.fake_storage import FakeStorage, serving

ROWS = pa.table({"number": pa.array(range(95), pa.int64())})
LOST = grpc.StatusCode.UNAVAILABLE


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(retrying, "LONGEST_PAUSE_S", 0)


def read(fake: FakeStorage, **options) -> list[int]:
    with serving(fake) as host:
        client = storage_client(Settings(BIGQUERY_STORAGE_EMULATOR_HOST=host))
        session = storage_read.open_session(client, "p.d.seller-sqp", **options)
        batches = list(storage_read.session_batches(client, session))
        client.transport.close()
    return [number for batch in batches for number in batch["number"].to_pylist()]


def test_every_row_comes_once_and_in_order():
    assert read(FakeStorage(ROWS)) == list(range(95))


def test_a_broken_stream_goes_on_at_the_first_row_not_received():
    fake = FakeStorage(ROWS, breaks=[(37, LOST), None])

    assert read(fake) == list(range(95))
    assert fake.offsets == [0, 37]


def test_progress_resets_the_count_of_failures():
    breaks = [(10, LOST)] * 7
    fake = FakeStorage(ROWS, breaks=[*breaks])

    assert read(fake) == list(range(95))
    assert fake.offsets == [0, 10, 20, 30, 40, 50, 60, 70]


def test_a_stream_that_brings_nothing_is_given_up():
    fake = FakeStorage(ROWS, breaks=[(0, LOST)] * 99)

    with pytest.raises(Unavailable, match=r"could not serve .*seller-sqp.*; try again later"):
        read(fake)
    assert len(fake.offsets) == storage_read.ATTEMPTS_WITHOUT_A_ROW


def test_a_stalled_stream_is_noticed_and_resumed(monkeypatch):
    monkeypatch.setattr(storage_read, "STRETCH_S", 0.5)
    fake = FakeStorage(ROWS, breaks=[(20, grpc.StatusCode.DEADLINE_EXCEEDED)])

    assert read(fake) == list(range(95))


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, AccessDenied),
        (grpc.StatusCode.UNAUTHENTICATED, AccessDenied),
        (grpc.StatusCode.NOT_FOUND, NotFound),
    ],
)
def test_what_cannot_get_better_is_not_tried_again(code, error):
    fake = FakeStorage(ROWS, breaks=[(5, code)] * 9)

    with pytest.raises(error):
        read(fake)
    assert fake.offsets == [0]


def test_a_session_that_is_refused_for_good_is_one_clear_line():
    fake = FakeStorage(ROWS, refuse_session=grpc.StatusCode.PERMISSION_DENIED)

    with pytest.raises(AccessDenied) as caught:
        read(fake)
    assert "roles/bigquery.readSessionUser" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_session_asks_for_one_stream_of_compressed_arrow():
    fake = FakeStorage(ROWS)
    read(fake, restriction="`Date` >= DATE '2024-08-18'", columns=("Child ASIN", "Date"))

    (request,) = fake.sessions
    options = request.read_session.read_options
    assert request.max_stream_count == 1
    assert request.read_session.table == "projects/p/datasets/d/tables/seller-sqp"
    assert options.row_restriction == "`Date` >= DATE '2024-08-18'"
    assert list(options.selected_fields) == ["Child ASIN", "Date"]
    assert options.arrow_serialization_options.buffer_compression == 1
