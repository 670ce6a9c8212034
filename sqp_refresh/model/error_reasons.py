"""List every reason that BigQuery, Postgres and poolers give for an error, and what it means.

    BIGQUERY_REASONS["jobBackendError"]    # Unavailable: it is tried again
    SQLSTATES["25006"]                     # ReadOnly: enlarge the disk, …

A reason is looked up by the most precise name that there is: words of the message that tell it from
others of the same name, then the name itself, then the class of names that it belongs to. What a
reason means is the class of the error, which has its kind and says whether another attempt may
succeed, and the remedy, which ends the message. The reference lists all of them.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqp_refresh.errors import (
    AccessDenied,
    DataError,
    DuplicateKey,
    LimitExceeded,
    NoConnection,
    NotFound,
    QuotaExceeded,
    ReadOnly,
    RefreshError,
    SchemaMismatch,
    SettingsError,
    TooEarly,
    Transient,
    Unavailable,
    Unreachable,
    WriteConflict,
)

ELLIPSIS = "…"
"""Stands for any text in the words of a message."""


@dataclass(frozen=True, slots=True)
class ErrorReason:
    """What a reason means.

    Attributes:
        error: The class of the error; its kind is that of the reason.
        remedy: What to do about it, in a few words; empty where nobody knows.
    """

    error: type[RefreshError]
    remedy: str

    @property
    def is_transient(self) -> bool:
        """Whether another attempt may succeed."""
        return issubclass(self.error, Transient)


@dataclass(frozen=True, slots=True)
class Words:
    """Words of a message, in any case, that tell what no code tells.

    Attributes:
        words: The words; an ellipsis stands for any text.
        reason: What they mean.
    """

    words: str
    reason: ErrorReason

    def are_in(self, message: str) -> bool:
        """Return whether a message has these words, in their order."""
        parts = map(re.escape, self.words.split(ELLIPSIS))
        return re.search(".*".join(parts), message, re.IGNORECASE) is not None


def reason_in(message: str, known: Iterable[Words]) -> ErrorReason | None:
    """Return what the first known words in a message mean; None where it has none of them."""
    return next((words.reason for words in known if words.are_in(message)), None)


_OTHER_TIME = ErrorReason(
    SettingsError,
    "set the clock of this machine, by NTP; if it is right, renew the server's certificate",
)
_CERTIFICATE_TIMES = (
    Words("certificate is not yet valid", _OTHER_TIME),
    Words("certificate has expired", _OTHER_TIME),
)

# BigQuery ---------------------------------------------------------------------------------------

_AGAIN = ErrorReason(Unavailable, "try again later")
_NOW = ErrorReason(TooEarly, "the next attempt reads it as it is then")
_QUOTA = ErrorReason(QuotaExceeded, "wait a bit")
_RIGHTS = ErrorReason(
    AccessDenied,
    "grant the service account roles/bigquery.dataViewer, roles/bigquery.jobUser and "
    "roles/bigquery.readSessionUser",
)
_SEEN = ErrorReason(
    AccessDenied,
    "check the names in BIGQUERY_PROJECT_ID, BIGQUERY_DATASET and BIGQUERY_SOURCE_TABLE; if they "
    "are right, grant the service account roles/bigquery.dataViewer",
)
_KEY = ErrorReason(AccessDenied, "check GOOGLE_APPLICATION_CREDENTIALS_JSON")
_BILLING = ErrorReason(AccessDenied, "switch on billing for the project in Google Cloud")
_NO_API = ErrorReason(AccessDenied, "switch on the BigQuery API and the BigQuery Storage API")
_PROXY = ErrorReason(AccessDenied, "put the proxy's user and password into HTTPS_PROXY")
_NO_SUCH = ErrorReason(
    NotFound, "check BIGQUERY_PROJECT_ID, BIGQUERY_DATASET and BIGQUERY_SOURCE_TABLE"
)
_LOCATION = ErrorReason(
    NotFound, "set BIGQUERY_LOCATION to the location of the dataset, or take it out"
)
_FILTER = ErrorReason(
    SchemaMismatch,
    "ask its owner to take back require_partition_filter, or read a view of it that has a filter",
)
_MACHINE_CLOCK = ErrorReason(AccessDenied, "set the clock of this machine, by NTP")
_TOO_LARGE = ErrorReason(LimitExceeded, "refresh fewer weeks at once with --from and --to")
_QUERY = ErrorReason(
    SchemaMismatch, "run `sqp-refresh doctor`, which compares the source's columns"
)
_VALUE = ErrorReason(DataError, "check the value in the source")
_REFUSED = ErrorReason(
    DataError, "run `sqp-refresh doctor`, which reads the source as a refresh does"
)
_DEFECT = ErrorReason(RefreshError, "it is a defect of sqp_refresh; report it")

BIGQUERY_REASONS: Mapping[str, ErrorReason] = {
    # Those of BigQuery's own table of errors.
    "accessDenied": _RIGHTS,
    "attributeError": _DEFECT,
    "backendError": _AGAIN,
    "badRequest": _REFUSED,
    "billingNotEnabled": _BILLING,
    "billingTierLimitExceeded": ErrorReason(
        LimitExceeded, "allow the project's queries a higher billing tier"
    ),
    "blocked": ErrorReason(Unavailable, "try again later; if it stays, ask Google's support"),
    "duplicate": _AGAIN,
    "internalError": _AGAIN,
    "invalid": _REFUSED,
    "invalidQuery": _QUERY,
    "invalidUser": _KEY,
    "jobBackendError": _AGAIN,
    "jobInternalError": _AGAIN,
    "jobRateLimitExceeded": _QUOTA,
    "notFound": _NO_SUCH,
    "notImplemented": _DEFECT,
    "proxyAuthenticationRequired": _PROXY,
    "quotaExceeded": _QUOTA,
    "rateLimitExceeded": _QUOTA,
    "resourceInUse": _AGAIN,
    "resourcesExceeded": _TOO_LARGE,
    "responseTooLarge": _TOO_LARGE,
    "stopped": ErrorReason(Unavailable, "somebody cancelled the job in BigQuery; try again"),
    "tableUnavailable": _AGAIN,
    "timeout": _AGAIN,
    "unavailable": _AGAIN,
    # Those that its answers have, too.
    "accessNotConfigured": _NO_API,
    "authError": _KEY,
    "badGateway": _AGAIN,
    "bytesBilledLimitExceeded": ErrorReason(
        LimitExceeded, "raise BIGQUERY_MAX_BYTES_BILLED, or refresh fewer weeks at once"
    ),
    "concurrentLimitExceeded": _QUOTA,
    "conflict": _AGAIN,
    "dailyLimitExceeded": _QUOTA,
    "expired": _KEY,
    "forbidden": _RIGHTS,
    "gatewayTimeout": _AGAIN,
    "insufficientPermissions": _RIGHTS,
    "outOfRange": _VALUE,
    "parseError": _DEFECT,
    "policyViolation": ErrorReason(
        AccessDenied, "ask the administrator of the organization for an exception"
    ),
    "required": _DEFECT,
    "serviceUnavailable": _AGAIN,
    "unauthorized": _KEY,
    "userRateLimitExceeded": _QUOTA,
    # Those in the details of an answer, of Google's APIs in general.
    "ACCESS_TOKEN_EXPIRED": _KEY,
    "BILLING_DISABLED": _BILLING,
    "CREDENTIALS_MISSING": _KEY,
    "IAM_PERMISSION_DENIED": _RIGHTS,
    "RATE_LIMIT_EXCEEDED": _QUOTA,
    "RESOURCE_QUOTA_EXCEEDED": _QUOTA,
    "SERVICE_DISABLED": _NO_API,
}
"""By `reason` of an error of BigQuery."""

GRPC_STATUSES: Mapping[str, ErrorReason] = {
    "ABORTED": _AGAIN,
    "ALREADY_EXISTS": _AGAIN,
    "CANCELLED": _AGAIN,
    "DATA_LOSS": _AGAIN,
    "DEADLINE_EXCEEDED": _AGAIN,
    "FAILED_PRECONDITION": _REFUSED,
    "INTERNAL": _AGAIN,
    "INVALID_ARGUMENT": _REFUSED,
    "NOT_FOUND": _NO_SUCH,
    "OUT_OF_RANGE": _VALUE,
    "PERMISSION_DENIED": _RIGHTS,
    "RESOURCE_EXHAUSTED": _QUOTA,
    "UNAUTHENTICATED": _KEY,
    "UNAVAILABLE": _AGAIN,
    "UNIMPLEMENTED": _DEFECT,
    "UNKNOWN": _AGAIN,
}
"""By status of gRPC, over which rows are read."""

HTTP_STATUSES: Mapping[str, ErrorReason] = {
    "401": _KEY,
    "403": _RIGHTS,
    "404": _NO_SUCH,
    "407": _PROXY,
    "408": _AGAIN,
    "409": _AGAIN,
    "412": _AGAIN,
    "425": _AGAIN,
    "429": _QUOTA,
    "499": _AGAIN,
    "501": _DEFECT,
    "4": _REFUSED,
    "5": _AGAIN,
}
"""By HTTP status, or by its first digit, where an answer of BigQuery has no reason."""

BIGQUERY_WORDS = (
    # A job is looked up by another server than the one that has just made it.
    Words("Not found: Job", _AGAIN),
    # The table was made, or made anew, since it was looked up.
    Words("Invalid time travel timestamp", _NOW),
    Words("Invalid snapshot time", _NOW),
    Words("Cannot read before", _NOW),
    Words("is before the table's first", _NOW),
    # A dataset is there for metadata, and for queries only in its own location.
    Words("not found in location", _LOCATION),
    Words("in different locations", _LOCATION),
    Words("Invalid value for… is not a valid value", _LOCATION),
    Words("location … not support", _LOCATION),
    # To whom may not see a name, BigQuery does not say whether there is such a thing.
    Words("it may not exist", _SEEN),
    Words("perhaps it does not exist", _SEEN),
    Words("without a filter over column", _FILTER),
    Words("Invalid project ID", ErrorReason(SettingsError, "correct BIGQUERY_PROJECT_ID")),
    Words("ProjectId must", ErrorReason(SettingsError, "correct BIGQUERY_PROJECT_ID")),
    Words("Invalid dataset ID", ErrorReason(SettingsError, "correct BIGQUERY_DATASET")),
    Words("Invalid table ID", ErrorReason(SettingsError, "correct BIGQUERY_SOURCE_TABLE")),
    Words(
        "is in the future",
        ErrorReason(Unavailable, "wait for some seconds, and set the clock of this machine by NTP"),
    ),
    Words("session expired", _AGAIN),
    # What this machine signed is of another time.
    Words("reasonable timeframe", _MACHINE_CLOCK),
    Words("Token used too early", _MACHINE_CLOCK),
    Words("invalid_grant", _KEY),
    Words("invalid_client", _KEY),
    Words("Bad int64 value", _VALUE),
    Words("Bad double value", _VALUE),
    Words("Could not cast", _VALUE),
    Words("division by zero", _VALUE),
    Words("overflow", _VALUE),
    Words("out of range", _VALUE),
    *_CERTIFICATE_TIMES,
    Words("certificate verify failed", ErrorReason(SettingsError, "set REQUESTS_CA_BUNDLE")),
    Words("407 Proxy Authentication Required", _PROXY),
)
"""By words of BigQuery's message; these go before its reason."""

# Postgres ---------------------------------------------------------------------------------------

_MIGRATE = "run `sqp-refresh doctor`, which says whether to migrate or what else to mend"
_LOGIN = ErrorReason(AccessDenied, "check the user and password in DATABASE_URL")
_DATABASE = ErrorReason(NotFound, "create it, or check its name in DATABASE_URL")
_FULL = "free or enlarge the server's disk"
_CONNECTIONS = ErrorReason(
    NoConnection, "close connections, or raise max_connections or the pooler's pool size"
)

READ_ONLY_SQLSTATE = "25006"
SQLSTATES: Mapping[str, ErrorReason] = {
    "08": ErrorReason(Unavailable, "check that Postgres is up"),
    "0A": ErrorReason(RefreshError, "check that the server is Postgres 14 or newer"),
    "21": _VALUE,
    "22": _VALUE,
    # A character that the database's encoding has not.
    "22P05": ErrorReason(DataError, "move to a database in UTF8, as `sqp-refresh doctor` says"),
    "23": ErrorReason(DataError, "check the row in the source"),
    "23505": ErrorReason(DuplicateKey, "check the row in the source"),
    READ_ONLY_SQLSTATE: ErrorReason(
        ReadOnly,
        "enlarge the disk, which a provider keeps read-only while it is full; or point "
        "DATABASE_URL at the primary; or take default_transaction_read_only back",
    ),
    "25P03": ErrorReason(Unavailable, "the server closed a transaction that stood idle; try again"),
    "25P04": ErrorReason(Unavailable, "the server's transaction_timeout ended it; try again"),
    "28": _LOGIN,
    "3D": ErrorReason(NotFound, "check the database name in DATABASE_URL"),
    "3F": ErrorReason(NotFound, _MIGRATE),
    "40": ErrorReason(WriteConflict, "somebody else wrote to the same rows; try again"),
    "42501": ErrorReason(AccessDenied, "grant the user of DATABASE_URL this right"),
    "42703": ErrorReason(SchemaMismatch, _MIGRATE),
    "42804": ErrorReason(SchemaMismatch, _MIGRATE),
    "42883": ErrorReason(NotFound, _MIGRATE),
    "42P01": ErrorReason(NotFound, _MIGRATE),
    "44": ErrorReason(DataError, "check the row in the source"),
    "53": ErrorReason(Unavailable, "check the server's memory, disk and connections"),
    "53100": ErrorReason(Unavailable, _FULL),
    "53200": ErrorReason(Unavailable, "give the server more memory, or lower REFRESH_BATCH_SIZE"),
    "53300": _CONNECTIONS,
    "53400": ErrorReason(Unavailable, "raise the server's limit, e.g. temp_file_limit"),
    "54": ErrorReason(
        DataError, "check the value in the source: it is larger than Postgres can index"
    ),
    "55": ErrorReason(Transient, "another session holds a lock; try again"),
    "57": ErrorReason(Unavailable, "the server ended the statement; try again"),
    "57P04": ErrorReason(NotFound, "check the database name in DATABASE_URL"),
    "58": ErrorReason(Unavailable, "check the server's disk and its log"),
    "F0": ErrorReason(Unavailable, "check the server's configuration files"),
    "P0": ErrorReason(DataError, "check the triggers of the table: one of them refused the row"),
    "XX": ErrorReason(Transient, "try again; if it stays, see the server's log"),
    "XX001": ErrorReason(DataError, "restore the table: its data is damaged on the server's disk"),
    "XX002": ErrorReason(DataError, "REINDEX the table: an index is damaged on the server's disk"),
}
"""By SQLSTATE, or by its class, which is the first two characters."""

_POOLER_USER = ErrorReason(
    AccessDenied,
    "check the user in DATABASE_URL: Supabase's pooler wants postgres.PROJECT at the host of the "
    "project's region",
)
_ADDRESS = ErrorReason(
    AccessDenied, "allow this machine's address in the provider's network settings"
)
_SSL = ErrorReason(SettingsError, "add sslmode=require to DATABASE_URL")
_NO_SSL = ErrorReason(SettingsError, "the server offers no SSL: change sslmode in DATABASE_URL")
_CERTIFICATE = ErrorReason(SettingsError, "check sslmode and sslrootcert in DATABASE_URL")
_OPTIONS = ErrorReason(SettingsError, "take that parameter out of DATABASE_URL")
_PARAMETER = ErrorReason(SettingsError, "correct it in DATABASE_URL")

POOLER_WORDS = (
    # Supavisor, the pooler of Supabase.
    Words("Tenant or user not found", _POOLER_USER),
    Words("tenant/user … not found", _POOLER_USER),
    Words("There is no user … in the database", _POOLER_USER),
    Words("Address not in tenant allow_list", _ADDRESS),
    Words("too many authentication", _LOGIN),
    Words("Authentication error", _LOGIN),
    Words("Wrong password", _LOGIN),
    Words("max clients reached", _CONNECTIONS),
    Words("Max client connections reached", _CONNECTIONS),
    Words("unable to check out", _CONNECTIONS),
    # PgBouncer.
    Words("no such user", _LOGIN),
    Words("no such database", _DATABASE),
    Words("login rejected", _LOGIN),
    Words("wrong password type", _LOGIN),
    Words("no more connections allowed", _CONNECTIONS),
    Words("query_wait_timeout", _CONNECTIONS),
    Words(
        "statement pooling mode",
        ErrorReason(SettingsError, "let the pooler pool transactions: pool_mode = transaction"),
    ),
    Words("unsupported startup parameter", _OPTIONS),
    # Others: Odyssey, PgCat, the proxy of Amazon RDS, Neon.
    Words("route for … is not found", _LOGIN),
    Words("No pool configured for database", _DATABASE),
    Words("has no credentials for the role", _LOGIN),
    Words("Endpoint ID is not specified", _OPTIONS),
    Words("has exceeded the … quota", ErrorReason(LimitExceeded, "raise the provider's quota")),
    # All of them.
    Words("requires TLS", _SSL),
    Words("SSL connection is required", _SSL),
    Words("SSL required", _SSL),
    Words("requires SSL", _SSL),
)
"""By words of a pooler, which has no SQLSTATE, or one of Postgres that means nothing."""

_REFUSED_ADDRESS = ErrorReason(
    AccessDenied,
    "check the user and password in DATABASE_URL, and add sslmode=require where it wants "
    "encryption",
)

_HOST = ErrorReason(
    Unreachable,
    "check that it is up, the host in DATABASE_URL and this machine's network: a database of "
    "Supabase has an IPv6 address only, its poolers have IPv4, too",
)

REFUSALS = (
    # libpq itself and the system, whose words are English.
    Words("Network is unreachable", _HOST),
    Words("No route to host", _HOST),
    Words("Cannot assign requested address", _HOST),
    Words("could not translate host name", _HOST),
    Words("failed to resolve host", _HOST),
    Words("server does not support SSL", _NO_SSL),
    *_CERTIFICATE_TIMES,
    Words("certificate verify failed", _CERTIFICATE),
    Words("root certificate file", _CERTIFICATE),
    Words("server certificate for", _CERTIFICATE),
    Words("certificate file", _CERTIFICATE),
    Words("invalid sslmode value", _CERTIFICATE),
    Words("weak sslmode", _CERTIFICATE),
    Words("sslmode value … invalid", _CERTIFICATE),
    Words("invalid … value", _PARAMETER),
    Words("invalid port number", _PARAMETER),
    Words("could not parse network address", _PARAMETER),
    Words("port numbers", _PARAMETER),
    Words("definition of service", _PARAMETER),
    Words("service file", _PARAMETER),
    # psycopg, which reads some itself.
    Words("bad value for", _PARAMETER),
    Words("no password supplied", _LOGIN),
    Words("unrecognized configuration parameter", _OPTIONS),
    # In every language.
    Words("pg_hba.conf", _REFUSED_ADDRESS),
    # English, German, French, Spanish, Italian, Portuguese.
    Words("authentication failed", _LOGIN),
    Words("authentifizierung … fehlgeschlagen", _LOGIN),
    Words("authentification … échou", _LOGIN),
    Words("autentificación … falló", _LOGIN),
    Words("autenticazione … fallita", _LOGIN),
    Words("autenticação … falhou", _LOGIN),
    Words('role "…" does not exist', _LOGIN),
    Words("Rolle … existiert nicht", _LOGIN),
    Words("rôle … n…existe pas", _LOGIN),
    Words("no existe el rol", _LOGIN),
    Words("ruolo … non esiste", _LOGIN),
    Words("role … não existe", _LOGIN),
    Words("is not permitted to log in", _LOGIN),
    Words("hat keine Berechtigung zum Login", _LOGIN),
    Words("hat keine Berechtigung zum Einloggen", _LOGIN),
    Words("n…est pas autorisé à se connecter", _LOGIN),
    Words("no se le permite conectarse", _LOGIN),
    Words("non è consentito", _LOGIN),
    Words("não tem permissão", _LOGIN),
    Words("permission denied for database", _LOGIN),
    Words("keine Berechtigung für Datenbank", _LOGIN),
    Words("droit refusé pour la base de données", _LOGIN),
    Words("permiso denegado a la base de datos", _LOGIN),
    Words("permesso negato per il database", _LOGIN),
    Words("permissão negada para", _LOGIN),
    Words('database "…" does not exist', _DATABASE),
    Words("Datenbank … existiert nicht", _DATABASE),
    Words("base de données … n…existe pas", _DATABASE),
    Words("no existe la base de datos", _DATABASE),
    Words("database … non esiste", _DATABASE),
    Words("banco de dados … não existe", _DATABASE),
)
"""By words of a refusal to connect: libpq passes on no SQLSTATE, and servers speak many languages.

A pooler's words go before them. Whatever is not among them may pass, e.g. a server that starts.
"""


def reason_of_http(status: object) -> ErrorReason:
    """Return what an answer of BigQuery without a reason means, by its HTTP status."""
    text = str(status)
    return HTTP_STATUSES.get(text) or HTTP_STATUSES.get(text[:1]) or _REFUSED


def reason_of_sqlstate(sqlstate: str) -> ErrorReason:
    """Return what a SQLSTATE means; of one that is not known, that it is a defect."""
    unknown = ErrorReason(RefreshError, "")
    return SQLSTATES.get(sqlstate) or SQLSTATES.get(sqlstate[:2]) or unknown
