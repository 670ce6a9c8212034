"""What can go wrong, split by what the caller can do about it; the one place that classifies it.

RefreshError
├── Transient            worth another attempt: the outside world was busy, away or interrupted
│   ├── Unavailable      BigQuery or Postgres cannot be reached, or took too long to answer
│   ├── QuotaExceeded    BigQuery accepts no more for now
│   ├── Busy             another refresh of the table is at work
│   └── ProcessLost             the process of a refresh ended without a word
└── Permanent            another attempt changes nothing; somebody has to act
    ├── SettingsError    a switch, or a table's registration, is missing or malformed
    ├── AccessDenied     the credentials are wrong, or lack a right
    ├── NotFound         a project, dataset, table or schema does not exist
    ├── SchemaMismatch   a column is missing, or its type does not convert
    ├── DataError        a value breaks a rule that holds for every row
    │   └── Rejected     too many rows of a week break their contract, so none is published
    └── Stopped          an operator disabled the table, or expired its checkpoint

Every message is one line that names the thing and the remedy, and holds no secret. Whatever else is
raised is a defect in the code: it is not tried again either.
"""

from enum import StrEnum
from typing import Any, ClassVar


class Kind(StrEnum):
    """What sort of failure an audit row tells of, in `error_details`."""

    TRANSIENT = "transient"
    QUOTA = "quota"
    SETTINGS = "settings"
    CREDENTIALS = "credentials"
    SCHEMA = "schema"
    DATA = "data"
    OPERATOR = "operator"
    CODE = "code"


class RefreshError(Exception):
    """Anything that ends a refresh; `str(error)` is one line meant for an operator."""

    kind: ClassVar[Kind] = Kind.CODE

    def __init__(self, message: str = "", /, **details: object) -> None:
        """Say what went wrong in one line; `details` go to the audit log beside it, as JSON."""
        super().__init__(message)
        self.details: dict[str, Any] = details


class Transient(RefreshError):
    """Worth another attempt."""

    kind = Kind.TRANSIENT


class Unavailable(Transient):
    """BigQuery or Postgres cannot be reached, or took too long to answer."""


class QuotaExceeded(Transient):
    """BigQuery accepts no more for now: a rate or a quota is used up."""

    kind = Kind.QUOTA


class Busy(Transient):
    """Another refresh of the table is at work."""


class ProcessLost(Transient):
    """The process of a refresh ended without a word: killed, or its machine is gone."""


class Permanent(RefreshError):
    """Another attempt changes nothing."""


class SettingsError(Permanent):
    """A switch, or a table's registration, is missing or malformed."""

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


class Rejected(DataError):
    """Too many rows of a week break their contract, so none of it is published."""


class Stopped(Permanent):
    """An operator disabled the table, or expired its checkpoint."""

    kind = Kind.OPERATOR


def kind_of(error: BaseException) -> Kind:
    """What sort of failure an exception is; an interruption is the operator's doing."""
    if isinstance(error, RefreshError):
        return error.kind
    return Kind.CODE if isinstance(error, Exception) else Kind.OPERATOR


def one_line(error: BaseException) -> str:
    """The first line of what an error says: the part worth showing to an operator."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__).strip()
