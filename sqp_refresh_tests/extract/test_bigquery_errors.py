"""Classify what BigQuery, its jobs, its streams and the token endpoint answer with."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import google.auth.exceptions
import grpc
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.api_core import exceptions
from google.auth.transport.requests import Request
from google.cloud.bigquery.job.base import _error_result_to_exception
from google.oauth2 import service_account

from sqp_refresh.errors import RefreshError, TooEarly, Transient
from sqp_refresh.extract.client import as_refresh_error, translated_errors

AGAIN, QUOTA, RIGHTS, SCHEMA, DATA, CODE = (
    ("transient", True),
    ("quota", True),
    ("credentials", False),
    ("schema", False),
    ("data", False),
    ("code", False),
)
TOO_LARGE, SETTINGS = ("quota", False), ("settings", False)
DOCUMENTED = [
    ("accessDenied", 403, RIGHTS),
    ("attributeError", 400, CODE),
    ("backendError", 500, AGAIN),
    ("badRequest", 400, DATA),
    ("billingNotEnabled", 403, RIGHTS),
    ("billingTierLimitExceeded", 400, TOO_LARGE),
    ("blocked", 403, AGAIN),
    ("duplicate", 409, AGAIN),
    ("internalError", 500, AGAIN),
    ("invalid", 400, DATA),
    ("invalidQuery", 400, SCHEMA),
    ("invalidUser", 400, RIGHTS),
    ("jobBackendError", 400, AGAIN),
    ("jobInternalError", 400, AGAIN),
    ("jobRateLimitExceeded", 400, QUOTA),
    ("notFound", 404, SCHEMA),
    ("notImplemented", 501, CODE),
    ("proxyAuthenticationRequired", 407, RIGHTS),
    ("quotaExceeded", 403, QUOTA),
    ("rateLimitExceeded", 403, QUOTA),
    ("resourceInUse", 400, AGAIN),
    ("resourcesExceeded", 400, TOO_LARGE),
    ("responseTooLarge", 403, TOO_LARGE),
    ("stopped", 200, AGAIN),
    ("tableUnavailable", 400, AGAIN),
    ("timeout", 400, AGAIN),
    ("unavailable", 503, AGAIN),
    ("bytesBilledLimitExceeded", 400, TOO_LARGE),
    ("accessNotConfigured", 403, RIGHTS),
    ("userRateLimitExceeded", 403, QUOTA),
    ("outOfRange", 400, DATA),
]
WITHOUT_REASON = [
    (400, DATA),
    (401, RIGHTS),
    (403, RIGHTS),
    (404, SCHEMA),
    (407, RIGHTS),
    (408, AGAIN),
    (429, QUOTA),
    (499, AGAIN),
    (500, AGAIN),
    (501, CODE),
    (502, AGAIN),
    (503, AGAIN),
    (504, AGAIN),
]
STATUSES = [
    ("CANCELLED", AGAIN),
    ("UNKNOWN", AGAIN),
    ("INVALID_ARGUMENT", DATA),
    ("DEADLINE_EXCEEDED", AGAIN),
    ("NOT_FOUND", SCHEMA),
    ("ALREADY_EXISTS", AGAIN),
    ("PERMISSION_DENIED", RIGHTS),
    ("RESOURCE_EXHAUSTED", QUOTA),
    ("FAILED_PRECONDITION", DATA),
    ("ABORTED", AGAIN),
    ("OUT_OF_RANGE", DATA),
    ("UNIMPLEMENTED", CODE),
    ("INTERNAL", AGAIN),
    ("UNAVAILABLE", AGAIN),
    ("DATA_LOSS", AGAIN),
    ("UNAUTHENTICATED", RIGHTS),
]
MESSAGES = [
    ("notFound", 404, "Not found: Job p:US.0a1b-2c", AGAIN),
    ("notFound", 404, "Not found: Table p:d.t was not found in location US", SCHEMA),
    ("notFound", 404, "Not found: Dataset p:d was not found in location EU", SCHEMA),
    ("invalid", 400, "Cannot read and write in different locations: source: EU", SCHEMA),
    ("invalid", 400, "Invalid value for: Asia is not a valid value", SCHEMA),
    ("invalidQuery", 400, "Cannot query over table 'd.t' without a filter over column(s)", SCHEMA),
    ("invalid", 400, "Invalid project ID 'My Project'. Project IDs must contain", SETTINGS),
    ("invalid", 400, 'Invalid dataset ID "a-b". Dataset IDs must be alphanumeric', SETTINGS),
    ("accessDenied", 403, "Permission bigquery.tables.get denied (or it may not exist).", RIGHTS),
    ("invalidQuery", 400, "Unrecognized name: `Date` at [1:8]", SCHEMA),
    ("invalidQuery", 400, "Bad int64 value: 12x", DATA),
    ("invalidQuery", 400, "division by zero: 1 / 0", DATA),
    ("invalid", 400, "Invalid snapshot time 17 for table p:d.t. Cannot read before 18", AGAIN),
    ("invalidQuery", 400, "Invalid time travel timestamp 17 for table p:d.t@17", AGAIN),
    ("outOfRange", 400, "FOR SYSTEM_TIME AS OF is before the table's first captured state", AGAIN),
]
TIMEFRAME = "Invalid JWT: Token must be a short-lived token and in a reasonable timeframe"
STREAM_MESSAGES = [
    ("FAILED_PRECONDITION", "there was an error operating on 's': session expired at 12", AGAIN),
    ("UNAVAILABLE", "Getting metadata from plugin failed with error: invalid_grant: x", RIGHTS),
]


def meaning(error: RefreshError) -> tuple[str, bool]:
    assert "\n" not in str(error)
    assert "p.d.t" in str(error) or "credentials" in str(error)
    return error.kind.value, isinstance(error, Transient)


def answer(status: int, reason: str | None, message: str = "broken") -> Exception:
    """Return the error that the library makes of an answer over REST."""
    response = requests.Response()
    response.status_code = status
    problem = {"code": status, "message": message}
    if reason:
        problem["errors"] = [{"reason": reason, "message": message}]
    response._content = json.dumps({"error": problem}).encode()
    response.request = requests.Request("GET", "http://bigquery/x").prepare()
    return exceptions.from_http_response(response)


@pytest.mark.parametrize(("reason", "status", "expected"), DOCUMENTED)
def test_a_reason_counts_whether_a_request_or_a_job_failed(reason, status, expected):
    of_job = _error_result_to_exception({"reason": reason, "message": "broken"})

    assert meaning(as_refresh_error(of_job, "p.d.t")) == expected
    if status >= 400:
        assert meaning(as_refresh_error(answer(status, reason), "p.d.t")) == expected
        # A proxy or the library may change the status, never the reason.
        assert meaning(as_refresh_error(answer(400, reason), "p.d.t")) == expected


@pytest.mark.parametrize(("status", "expected"), WITHOUT_REASON)
def test_without_a_reason_the_status_counts(status, expected):
    assert meaning(as_refresh_error(answer(status, None), "p.d.t")) == expected
    assert meaning(as_refresh_error(answer(status, "aNewOne"), "p.d.t")) == expected


class Broken(grpc.RpcError):
    """The error of a stream that broke."""

    def __init__(self, status: str, message: str) -> None:
        self._status, self._message = grpc.StatusCode[status], message

    def code(self) -> grpc.StatusCode:
        return self._status

    def details(self) -> str:
        return self._message

    def trailing_metadata(self) -> tuple[()]:
        return ()


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [*((status, "broken", expected) for status, expected in STATUSES), *STREAM_MESSAGES],
)
def test_a_stream_that_breaks_has_a_status(status, message, expected):
    error = exceptions.from_grpc_error(Broken(status, message))

    assert meaning(as_refresh_error(error, "p.d.t")) == expected


def test_every_status_of_grpc_is_known():
    assert {status for status, _ in STATUSES} == {status.name for status in grpc.StatusCode} - {
        "OK"
    }


@pytest.mark.parametrize(("reason", "status", "message", "expected"), MESSAGES)
def test_words_tell_what_a_reason_does_not(reason, status, message, expected):
    error = as_refresh_error(answer(status, reason, message), "p.d.t")

    assert meaning(error) == expected
    assert isinstance(error, TooEarly) == ("before" in message or "time travel" in message)
    # A remedy names the setting that is wrong, and no other.
    if expected == RIGHTS:
        assert "check the names in BIGQUERY_PROJECT_ID" in str(error)
        return
    named = set(re.findall("BIGQUERY_[A-Z_]+", str(error)))
    assert named <= {"BIGQUERY_LOCATION", "BIGQUERY_PROJECT_ID", "BIGQUERY_DATASET"}
    assert ("BIGQUERY_LOCATION" in named) == (expected == SCHEMA and reason != "invalidQuery")
    assert len(named) <= 1


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (requests.ConnectionError("reset"), AGAIN),
        (requests.ReadTimeout("slow"), AGAIN),
        (requests.exceptions.ChunkedEncodingError("cut"), AGAIN),
        (requests.exceptions.SSLError("[SSL] certificate verify failed: self-signed"), SETTINGS),
        (requests.exceptions.ProxyError("407 Proxy Authentication Required"), RIGHTS),
        (exceptions.RetryError("gave up", answer(400, "jobBackendError")), AGAIN),
        (exceptions.RetryError("gave up", google.auth.exceptions.TransportError("x")), AGAIN),
        (google.auth.exceptions.TransportError("no route"), AGAIN),
        (google.auth.exceptions.TimeoutError("slow"), AGAIN),
        (google.auth.exceptions.RefreshError("who knows", retryable=True), AGAIN),
        (google.auth.exceptions.DefaultCredentialsError("none"), RIGHTS),
        (google.auth.exceptions.RefreshError("the credentials lack a refresh_token"), RIGHTS),
        (google.auth.exceptions.RefreshError("no", '{"error": {"code": 403}}'), RIGHTS),
        (google.auth.exceptions.RefreshError("no", '{"error": {"code": 503}}'), AGAIN),
    ],
)
def test_what_keeps_a_request_from_being_answered(error, expected):
    assert meaning(as_refresh_error(error, "p.d.t")) == expected


@contextmanager
def token_endpoint(status: int, body: str) -> Iterator[str]:
    """Serve one answer to every request for a token, and yield the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/token"
        server.shutdown()


@pytest.fixture(scope="module")
def private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(pem, pkcs8, serialization.NoEncryption()).decode()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (502, "<html><title>502 Bad Gateway</title></html>", AGAIN),
        (502, "upstream is away", AGAIN),
        (502, "", AGAIN),
        (502, '{"message": "Bad Gateway"}', AGAIN),
        (400, '{"error": "temporarily_unavailable"}', AGAIN),
        (400, '{"error": "invalid_grant", "error_description": "Invalid JWT"}', RIGHTS),
        (401, '{"error": "invalid_client"}', RIGHTS),
        (400, f'{{"error": "invalid_grant", "error_description": "{TIMEFRAME}"}}', RIGHTS),
    ],
)
def test_a_token_endpoint_that_fails_is_told_from_one_that_refuses(
    private_key, status, body, expected, monkeypatch
):
    monkeypatch.setattr("google.auth._exponential_backoff.time.sleep", lambda _: None)
    with token_endpoint(status, body) as address:
        key = {"client_email": "a@p", "token_uri": address, "private_key": private_key}
        credentials = service_account.Credentials.from_service_account_info(key, scopes=["x"])
        with pytest.raises(RefreshError) as raised, translated_errors("p.d.t"):
            credentials.refresh(Request())

    assert meaning(raised.value) == expected
    assert "<html>" not in str(raised.value)
    # Google refuses what a wrong clock has dated: the key is as it should be.
    assert ("clock" in str(raised.value)) == ("timeframe" in body)
    assert not ("clock" in str(raised.value) and "GOOGLE_APPL" in str(raised.value))
