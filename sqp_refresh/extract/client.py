"""Make the two clients of BigQuery, translate their errors into ours, and tell BigQuery's time.

Jobs and metadata go over REST, rows over the Storage Read API. Every call has a deadline, because
the libraries' own would wait for ten minutes.

BigQuery's time is in the date of its answers. It refuses to be read as of an instant that has not
come yet, or is a week ago, so that no other clock decides.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from sqp_refresh.errors import (
    AccessDenied,
    DataError,
    LimitExceeded,
    NotFound,
    QuotaExceeded,
    RefreshError,
    SchemaMismatch,
    SettingsError,
    Unavailable,
    Unreachable,
    one_line,
)
from sqp_refresh.model.error_reasons import (
    BIGQUERY_REASONS,
    BIGQUERY_WORDS,
    GRPC_STATUSES,
    ErrorReason,
    reason_in,
    reason_of_http,
)
from sqp_refresh.settings import Settings

if TYPE_CHECKING:
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.credentials import Credentials
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.bigquery import Client, QueryJob, QueryJobConfig
    from google.cloud.bigquery_storage_v1.services.big_query_read import BigQueryReadClient

CALL_DEADLINE_S = 60
QUERY_DEADLINE_S = 600

_REFUSALS: tuple[tuple[type[RefreshError], str], ...] = (
    (QuotaExceeded, "accepts no more requests for"),
    (LimitExceeded, "does not allow a query of this size of"),
    (AccessDenied, "refused access to"),
    (SettingsError, "cannot be reached as it is set for"),
    (Unavailable, "could not serve"),
    (SchemaMismatch, "refused the query of"),
    (DataError, "refused to read"),
)
"""How a message begins, by the class of the error."""

# What the library itself has to say about the credentials, as against what an endpoint answered.
_ABOUT_CREDENTIALS = re.compile("authenticat|credential|refresh|scope|token", re.IGNORECASE)


def call_deadline() -> dict[str, Any]:
    """Return keyword arguments that bound one REST call, its retries included."""
    from google.cloud.bigquery import DEFAULT_RETRY

    return {"retry": DEFAULT_RETRY.with_timeout(CALL_DEADLINE_S), "timeout": CALL_DEADLINE_S}


def start_query(client: "Client", query: str, config: "QueryJobConfig") -> "QueryJob":
    """Start a query job, without waiting for its result."""
    # The library would start a job anew for forty minutes; our own attempts know when to give up.
    return client.query(query, job_config=config, job_retry=None, **call_deadline())


def rest_client(settings: Settings) -> "Client":
    """Return the client for jobs and metadata.

    Raises:
        AccessDenied: there are no credentials.
        SettingsError: GOOGLE_APPLICATION_CREDENTIALS_JSON is not a key.
    """
    from google.cloud import bigquery

    options = None
    if settings.BIGQUERY_EMULATOR_HOST:
        host = settings.BIGQUERY_EMULATOR_HOST
        options = {"api_endpoint": host if "://" in host else f"http://{host}"}
    return bigquery.Client(
        project=settings.job_project,
        credentials=_credentials(settings),
        location=settings.BIGQUERY_LOCATION,
        client_options=options,
    )


def storage_client(settings: Settings) -> "BigQueryReadClient":
    """Return the client for rows. Closed by `client.transport.close()`."""
    import grpc
    from google.cloud.bigquery_storage_v1.services.big_query_read import BigQueryReadClient
    from google.cloud.bigquery_storage_v1.services.big_query_read.transports import (
        BigQueryReadGrpcTransport,
    )

    host = settings.BIGQUERY_STORAGE_EMULATOR_HOST
    if not host:
        return BigQueryReadClient(credentials=_credentials(settings))
    # The library's own channel lifts this limit too: a block of rows may be 100 MB.
    unlimited = [("grpc.max_receive_message_length", -1)]
    channel = grpc.insecure_channel(host.removeprefix("http://"), options=unlimited)
    return BigQueryReadClient(transport=BigQueryReadGrpcTransport(channel=channel))


def _credentials(settings: Settings) -> "Credentials":
    import google.auth
    from google.auth.credentials import AnonymousCredentials
    from google.auth.exceptions import DefaultCredentialsError
    from google.oauth2 import service_account

    if settings.BIGQUERY_EMULATOR_HOST or settings.BIGQUERY_STORAGE_EMULATOR_HOST:
        return AnonymousCredentials()
    if settings.GOOGLE_APPLICATION_CREDENTIALS_JSON is None:
        try:
            return google.auth.default()[0]
        except DefaultCredentialsError as error:
            raise AccessDenied(
                f"there are no BigQuery credentials ({one_line(error)}); set "
                "GOOGLE_APPLICATION_CREDENTIALS_JSON to the content of a service account's key file"
            ) from None
    try:
        key = json.loads(settings.GOOGLE_APPLICATION_CREDENTIALS_JSON.get_secret_value())
        return service_account.Credentials.from_service_account_info(key)
    except (ValueError, TypeError, AttributeError):
        # The libraries' messages may quote the key.
        raise SettingsError(
            "GOOGLE_APPLICATION_CREDENTIALS_JSON is not a service account key; set it to the whole "
            "content of the key file"
        ) from None


def subject_of(table: str, job_project: str | None) -> str:
    """Name a table and, where it is not the table's own, the project whose jobs read it.

    A quota, a right or a limit that is spoken of is that project's.
    """
    own, *_ = table.rsplit(".", 2)
    return table if job_project in (own, None) else f"{table} (jobs in project {job_project})"


@contextmanager
def translated_errors(subject: str) -> Iterator[None]:
    """Turn the libraries' errors into ours; `subject` is what was being read."""
    import requests
    from google.api_core import exceptions
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except (
        exceptions.GoogleAPICallError,
        exceptions.RetryError,
        GoogleAuthError,
        requests.RequestException,
        ConnectionError,
        TimeoutError,
    ) as error:
        raise as_refresh_error(error, subject) from error


def as_refresh_error(error: Exception, subject: str) -> RefreshError:
    """Return the error that one of the libraries' means.

    Args:
        error: An error of a client of BigQuery, of its credentials, or of the connection.
        subject: What was being read.
    """
    from google.api_core import exceptions
    from google.auth.exceptions import GoogleAuthError

    if isinstance(error, exceptions.RetryError):
        return as_refresh_error(error.cause or TimeoutError(), subject)
    if isinstance(error, GoogleAuthError):
        return _refused_credentials(error, subject)
    if isinstance(error, exceptions.GoogleAPICallError):
        message = one_line(Exception(getattr(error, "message", None) or str(error)))
        return _error(reason_of(error), subject, message)
    return _out_of_reach(error, subject)


def reason_of(error: "GoogleAPICallError") -> ErrorReason:
    """Return what an answer of BigQuery means: by its words, its reason, or else its status."""
    by_words = reason_in(str(getattr(error, "message", error)), BIGQUERY_WORDS)
    known = [BIGQUERY_REASONS[name] for name in _reasons(error) if name in BIGQUERY_REASONS]
    if by_words or known:
        return by_words or known[0]
    status = error.grpc_status_code
    by_status = GRPC_STATUSES.get(status.name) if status is not None else None
    return by_status or reason_of_http(error.code)


def _error(reason: ErrorReason, subject: str, message: str) -> RefreshError:
    if reason.error is NotFound:
        where = f" where it is looked for: {message}" if "location" in message else ""
        return NotFound(f"BigQuery has no {subject}{where}; {reason.remedy}")
    refused = next(
        (text for error, text in _REFUSALS if issubclass(reason.error, error)), "failed to read"
    )
    return reason.error(f"BigQuery {refused} {subject}: {message}; {reason.remedy}")


def _reasons(error: "GoogleAPICallError") -> list[str]:
    """Return BigQuery's reasons; a quota that is used up comes as 403, as a missing right does."""
    # Those of gRPC are not JSON, and have a code of their own for it.
    details = [detail for detail in error.errors if isinstance(detail, dict)]
    reasons = [str(detail["reason"]) for detail in details if "reason" in detail]
    return [*reasons, error.reason] if error.reason else reasons


def _refused_credentials(error: "GoogleAuthError", subject: str) -> RefreshError:
    message = one_line(Exception(error.args[0] if error.args else ""))
    by_words = reason_in(str(error), BIGQUERY_WORDS)
    if by_words and by_words.error is not AccessDenied:
        return _error(by_words, subject, "its certificate is not trusted")
    if _may_pass(error):
        return Unavailable(
            f"Google gave no access token for {subject} ({type(error).__name__}); try again later"
        )
    remedy = by_words.remedy if by_words else "check GOOGLE_APPLICATION_CREDENTIALS_JSON"
    return AccessDenied(f"BigQuery refused the credentials: {message}; {remedy}")


def _may_pass(error: "GoogleAuthError") -> bool:
    """Return whether credentials were not judged at all: their endpoint did not answer as one.

    The library calls an error retryable by the endpoint's status, but not every status that a
    proxy before it answers with. An endpoint that refuses credentials says so in JSON.
    """
    from google.auth.exceptions import (
        OAuthError,
        RefreshError,
        ResponseError,
        TimeoutError,
        TransportError,
    )

    unanswered = (ResponseError, TimeoutError, TransportError)
    if error.retryable or isinstance(error, unanswered) or isinstance(error.__cause__, unanswered):
        return True
    return isinstance(error, (OAuthError, RefreshError)) and _is_no_refusal(error.args)


def _is_no_refusal(args: tuple[object, ...]) -> bool:
    """Return whether what an endpoint answered, by the arguments of the error, is no refusal."""
    answer = args[-1] if args else ""
    if isinstance(answer, str) and len(args) > 1:
        try:
            answer = json.loads(answer)
        except ValueError:
            return True
    if not isinstance(answer, dict):
        return str(answer).lstrip().startswith("<") or not _ABOUT_CREDENTIALS.search(str(answer))
    problem = answer.get("error")
    if isinstance(problem, dict):
        return reason_of_http(problem.get("code")).is_transient
    return problem is None


def _out_of_reach(error: Exception, subject: str) -> RefreshError:
    by_words = reason_in(str(error), BIGQUERY_WORDS)
    if by_words:
        return _error(by_words, subject, type(error).__name__)
    return Unreachable(
        f"BigQuery cannot be reached for {subject} ({type(error).__name__}); try again later"
    )


# BigQuery's own time --------------------------------------------------------------------------

_STALE = timedelta(seconds=10)
"""How old the date of an answer may be: it has whole seconds, and a busy server looks at its clock
late. Who is ahead by less than that waits for BigQuery's clock in an attempt or two."""


@dataclass(frozen=True, slots=True)
class ServerTime:
    """The time at BigQuery.

    Attributes:
        now: An instant that has just come there, in UTC.
        ahead: How far this machine's clock is ahead of it; zero where they agree, as far as the
            date of an answer tells.
    """

    now: datetime
    ahead: timedelta = timedelta()

    @classmethod
    def told_by(cls, date: datetime | None, asked: datetime, answered: datetime) -> "ServerTime":
        """Return the time that the date of an answer tells.

        Where this machine's clock agrees, it tells the fraction of the second, too.

        Args:
            date: The date of the answer; None where it has none.
            asked: When it was asked for, by this machine's clock.
            answered: When it came, by this machine's clock.
        """
        if date is None or (asked < date + _STALE and date <= answered):
            return cls(asked)
        return cls(date, (asked if asked > date else answered) - date)


@dataclass(slots=True)
class AnswerDate:
    """The date of the last answer in a block of `dated_answers`.

    Attributes:
        asked: When the block began, by this machine's clock.
    """

    asked: datetime = field(default_factory=lambda: datetime.now(UTC))
    _date: datetime | None = None

    def note(self, response: Any, *_: object, **__: object) -> None:  # noqa: ANN401, a hook of requests
        """Note the date of an answer; None where it has none that can be read."""
        try:
            self._date = parsedate_to_datetime(response.headers["Date"]).astimezone(UTC)
        except (KeyError, ValueError):
            self._date = None

    @property
    def time(self) -> ServerTime:
        """Return BigQuery's time, right after the answer."""
        return ServerTime.told_by(self._date, self.asked, datetime.now(UTC))


@contextmanager
def dated_answers(client: "Client") -> Iterator[AnswerDate]:
    """Note the date of each answer that a client receives in the block.

    with dated_answers(client) as date:
        table = client.get_table(name)
    date.time.now
    """
    date, hooks = AnswerDate(), client._http.hooks["response"]  # noqa: SLF001, nothing else has the date
    hooks.append(date.note)
    try:
        yield date
    finally:
        hooks.remove(date.note)
