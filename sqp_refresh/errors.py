"""Define what can go wrong, sorted by what the caller can do about it.

RefreshError
├── Transient            another attempt may succeed
│   ├── Unavailable      BigQuery or Postgres cannot be reached, or took too long to answer
│   │   ├── TooEarly     the source had no state yet at the instant of the run
│   │   ├── Unreachable  nobody answers at the address, so that nothing can be told
│   │   └── NoConnection Postgres, or the pooler before it, has no connection left
│   ├── QuotaExceeded    BigQuery accepts no more for now
│   ├── Busy             another refresh of the table is running
│   ├── WriteConflict    somebody else has written to the same rows meanwhile
│   └── ProcessLost      the process of a refresh ended without reporting an outcome
└── Permanent            another attempt fails in the same way; somebody has to act
    ├── SettingsError    a setting, or a table's registration, is missing or malformed
    ├── AccessDenied     the credentials are wrong, or lack a right
    ├── NotFound         a project, dataset, table or schema does not exist
    ├── SchemaMismatch   a column is missing, or its type does not convert
    ├── DataError        a value breaks a rule that holds for every row
    │   ├── DuplicateKey the target has a row of the same key
    │   └── Rejected     too many rows of a week break their contract, so none is published
    ├── LimitExceeded    a query needs more than BigQuery, or a setting, allows a single one
    ├── ReadOnly         the database takes no writes
    └── Stopped          an operator disabled the table, or expired its checkpoint

Every message is one line that names the thing and the remedy, and contains no secret. Any other
exception is a defect in the code, and is not tried again either.
"""

from enum import StrEnum
from typing import Any, ClassVar

from sqp_refresh.model.text import printable


class Kind(StrEnum):
    """The kind of a failure, as an audit row names it in `error_details`."""

    TRANSIENT = "transient"
    QUOTA = "quota"
    SETTINGS = "settings"
    CREDENTIALS = "credentials"
    SCHEMA = "schema"
    DATA = "data"
    READ_ONLY = "read-only"
    OPERATOR = "operator"
    CODE = "code"


class RefreshError(Exception):
    """Anything that ends a refresh; `str(error)` is one line meant for an operator.

    Attributes:
        kind: The kind of failure, for the audit log.
        details: What the audit log keeps beside the message.
        published: The rows of each period that is published all the same, by its first day (count).
    """

    kind: ClassVar[Kind] = Kind.CODE

    def __init__(self, message: str = "", /, **details: object) -> None:
        """Keep what went wrong.

        Args:
            message: What went wrong, and the remedy, in one line.
            details: Values for the audit log, which JSON must be able to hold.
        """
        super().__init__(printable(message.replace("\n", " ")))
        self.details: dict[str, Any] = details
        self.published: dict[str, int] = {}


class Transient(RefreshError):
    """A failure that may pass, so that another attempt may succeed."""

    kind = Kind.TRANSIENT


class Unavailable(Transient):
    """BigQuery or Postgres cannot be reached, or took too long to answer."""


class TooEarly(Unavailable):
    """The source had no state yet at the instant of the run: it was made, or made anew, since."""


class Unreachable(Unavailable):
    """Nobody answers at the address, so that nothing can be told of what is there."""


class NoConnection(Unavailable):
    """Postgres, or the pooler before it, has no connection left: others have all of them."""


class QuotaExceeded(Transient):
    """BigQuery accepts no more for now: a rate or a quota is used up."""

    kind = Kind.QUOTA


class Busy(Transient):
    """Another refresh of the table is running."""


class WriteConflict(Transient):
    """Somebody else has written to a row since the transaction took its snapshot of it."""


class ProcessLost(Transient):
    """The process of a refresh ended without reporting an outcome, e.g. because it was killed."""


class Permanent(RefreshError):
    """A failure that another attempt does not cure; somebody has to act."""


class SettingsError(Permanent):
    """A setting, or a table's registration, is missing or malformed."""

    kind = Kind.SETTINGS


class AccessDenied(Permanent):
    """The credentials are wrong, or lack a right."""

    kind = Kind.CREDENTIALS


class NotFound(Permanent):
    """A project, dataset, table or schema does not exist."""

    kind = Kind.SCHEMA


class SchemaMismatch(Permanent):
    """A column is missing, or its type does not convert."""

    kind = Kind.SCHEMA


class DataError(Permanent):
    """A value breaks a rule that holds for every row."""

    kind = Kind.DATA


class DuplicateKey(DataError):
    """The target has a row of the same key, which somebody else may just have written."""


class Rejected(DataError):
    """Too many rows of a week break their contract, so none of it is published."""


class LimitExceeded(Permanent):
    """A query needs more than BigQuery, or a setting, allows a single one."""

    kind = Kind.QUOTA


class ReadOnly(Permanent):
    """The database takes no writes: its disk is full, or it is a standby."""

    kind = Kind.READ_ONLY


class Stopped(Permanent):
    """An operator disabled the table, or expired its checkpoint."""

    kind = Kind.OPERATOR


def kind_of(error: BaseException) -> Kind:
    """Return the kind of an exception; an interruption counts as the operator's doing."""
    if isinstance(error, RefreshError):
        return error.kind
    return Kind.CODE if isinstance(error, Exception) else Kind.OPERATOR


def one_line(error: BaseException) -> str:
    """Return the first line of an error's message, which is the part that an operator needs."""
    first = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return printable(first.strip())
