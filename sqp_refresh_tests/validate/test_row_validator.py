"""What was counted of rows can be asked for once they were read to the end, and not before."""

import pytest

from sqp_refresh.model.rows import SourceBatches
from sqp_refresh.model.tables import SEARCH_QUERY_PERFORMANCE
from sqp_refresh.validate.row_validator import RowValidator
from sqp_refresh_tests.helpers.rows import row, source_table

COUNTERS = ("read", "bad", "bad_ratio", "reasons", "invalid_rows")


def validator_of(number_of_batches: int, limit: int | None = None) -> RowValidator:
    """Return a validator of batches with a good row and a bad one each."""
    batches = source_table([row(), row(score=0)]).to_batches() * number_of_batches
    rows = SourceBatches(source_table([]).schema, batches, {"Marketplace": "US"})
    return RowValidator(SEARCH_QUERY_PERFORMANCE, rows, limit)


@pytest.mark.parametrize("counter", COUNTERS)
@pytest.mark.parametrize("batches", [0, 2])
def test_nothing_is_told_before_all_rows_were_read(batches, counter):
    validator = validator_of(batches)
    reader = validator.batches()
    for _ in range(batches):
        reader.read_next_batch()

    with pytest.raises(RuntimeError, match="were not read to the end"):
        getattr(validator, counter)
    with pytest.raises(StopIteration):
        reader.read_next_batch()
    getattr(validator, counter)


def test_a_source_without_a_batch_has_no_rows():
    validator = validator_of(0)

    assert validator.batches().read_all().num_rows == 0
    assert (validator.read, validator.bad, validator.bad_ratio) == (0, 0, 0.0)


def test_rows_beyond_the_limit_are_only_counted():
    validator = validator_of(3, limit=2)

    assert validator.batches().read_all().num_rows == 3
    assert (validator.read, validator.bad, validator.bad_ratio) == (6, 3, 0.5)
    assert len(validator.invalid_rows) == 2
    assert validator.reasons == {"Search Query Score is not between 1 and 10^12": 3}
