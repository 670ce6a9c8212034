"""Make the two clients of BigQuery, and translate their errors into ours.

Jobs and metadata go over REST, rows over the Storage Read API. Every call has a deadline, because
the libraries' own would wait for ten minutes.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqp_refresh.errors import (
    AccessDenied,
    DataError,
    NotFound,
    QuotaExceeded,
    RefreshError,
    SettingsError,
    Unavailable,
    one_line,
)
from sqp_refresh.settings import Settings

if TYPE_CHECKING:
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.credentials import Credentials
    from google.cloud.bigquery import Client, QueryJob, QueryJobConfig
    from google.cloud.bigquery_storage_v1.services.big_query_read import BigQueryReadClient

CALL_DEADLINE_S = 60
QUERY_DEADLINE_S = 600
QUOTA_REASONS = {"rateLimitExceeded", "quotaExceeded"}


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
        project=settings.BIGQUERY_PROJECT_ID,
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
        except DefaultCredentialsError:
            raise AccessDenied(
                "there are no BigQuery credentials; set GOOGLE_APPLICATION_CREDENTIALS_JSON to the "
                "content of a service account's key file"
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


@contextmanager
def translated_errors(subject: str) -> Iterator[None]:
    """Turn the libraries' errors into ours; `subject` is what was being read."""
    import requests
    from google.api_core import exceptions
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except exceptions.GoogleAPICallError as error:
        raise _translated(error, subject) from error
    except exceptions.RetryError as error:
        raise _translated(error.cause or error, subject) from error
    except GoogleAuthError as error:
        raise AccessDenied(
            f"BigQuery refused the credentials: {one_line(error)}; "
            "check GOOGLE_APPLICATION_CREDENTIALS_JSON"
        ) from error
    except (requests.RequestException, ConnectionError, TimeoutError) as error:
        raise _out_of_reach(error, subject) from error


def _translated(error: Exception, subject: str) -> RefreshError:
    from google.api_core import exceptions

    if not isinstance(error, exceptions.GoogleAPICallError):
        return _out_of_reach(error, subject)
    message = one_line(Exception(getattr(error, "message", None) or str(error)))
    if isinstance(error, exceptions.NotFound):
        return NotFound(
            f"BigQuery has no {subject}; check BIGQUERY_PROJECT_ID, BIGQUERY_DATASET and "
            "BIGQUERY_SOURCE_TABLE"
        )
    if isinstance(error, exceptions.TooManyRequests) or QUOTA_REASONS & _reasons(error):
        return QuotaExceeded(
            f"BigQuery accepts no more requests for {subject}: {message}; wait a bit"
        )
    if isinstance(error, (exceptions.Forbidden, exceptions.Unauthorized)):
        return AccessDenied(
            f"BigQuery refused access to {subject}: {message}; grant the service account "
            "roles/bigquery.dataViewer, roles/bigquery.jobUser and roles/bigquery.readSessionUser"
        )
    if isinstance(error, exceptions.ServerError):
        return Unavailable(f"BigQuery could not serve {subject}: {message}; try again later")
    return DataError(f"BigQuery refused to read {subject}: {message}")


def _reasons(error: "GoogleAPICallError") -> set[str]:
    """Return BigQuery's reasons; a quota that is used up comes as 403, as a missing right does."""
    # Those of gRPC are not JSON, and have a code of their own for it.
    details = [detail for detail in error.errors if isinstance(detail, dict)]
    return {detail["reason"] for detail in details if "reason" in detail}


def _out_of_reach(error: Exception, subject: str) -> Unavailable:
    return Unavailable(
        f"BigQuery cannot be reached for {subject} ({type(error).__name__}); try again later"
    )
