"""What can go wrong, split by what the caller can do about it.

RefreshError
├── Transient            worth another attempt: the outside world was busy, away or interrupted
│   └── Unavailable      BigQuery or Postgres cannot be reached, or took too long to answer
└── Permanent            another attempt changes nothing; somebody has to act
    ├── SettingsError    a switch is missing or malformed
    ├── AccessDenied     the credentials are wrong, or lack a right
    ├── NotFound         a project, dataset, table or schema does not exist
    ├── SchemaMismatch   a column is missing, or its type does not convert
    ├── DataError        a value breaks a rule that holds for every row
    └── Stopped          an operator disabled the table, or expired its checkpoint

Every message is one line that names the thing and the remedy, and holds no secret.
"""


class RefreshError(Exception):
    """Anything that ends a refresh; `str(error)` is one line meant for an operator."""


class Transient(RefreshError):
    """Worth another attempt."""


class Unavailable(Transient):
    """BigQuery or Postgres cannot be reached, or took too long to answer."""


class Permanent(RefreshError):
    """Another attempt changes nothing."""


class SettingsError(Permanent):
    """A switch is missing or malformed."""


class AccessDenied(Permanent):
    """The credentials are wrong, or lack a right."""


class NotFound(Permanent):
    """A project, dataset, table or schema does not exist."""


class SchemaMismatch(Permanent):
    """A column is missing, or its type does not convert."""


class DataError(Permanent):
    """A value breaks a rule that holds for every row."""


class Stopped(Permanent):
    """An operator disabled the table, or expired its checkpoint."""


def one_line(error: BaseException) -> str:
    """The first line of what an error says: the part worth showing to an operator."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__).strip()
