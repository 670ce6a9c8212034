"""Post an alert to a webhook: signed, to the address that was checked, and within a deadline.

The same way, without a body, goes the call that says that the nights go on.
"""

import base64
import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import httpcore
import idna
from pydantic import SecretStr

from sqp_refresh import __version__
from sqp_refresh.alerts.address import GuardedNetwork, PrivateAddress
from sqp_refresh.alerts.outbox import DeliveryResult
from sqp_refresh.alerts.signature import signature_headers
from sqp_refresh.errors import one_line
from sqp_refresh.settings import Settings

CONNECT_S = 5
DEADLINE_S = 15
"""What an attempt may take in all, however slowly the receiver answers."""

_GONE = 410
_KEPT = "".join(map(chr, range(0x21, 0x7F)))
"""What may be in an address as it is; all else is encoded."""


def post(
    settings: Settings,
    url: str,
    event_id: str,
    payload: dict[str, Any],
    at: datetime | None = None,
    secrets: Sequence[SecretStr] | None = None,
) -> DeliveryResult:
    """Send an alert to a webhook; whatever goes wrong is in the result, without a secret.

    Args:
        settings: How to sign, and where a webhook may go.
        url: The webhook's address.
        event_id: The alert's id, the same in every attempt.
        payload: The alert, sent as JSON.
        at: When it is sent, by the clock of Postgres: a receiver refuses what was signed minutes
            ago, or in the future. None is now, by this machine's clock.
        secrets: What it is signed with; None is the secrets of the settings.
    """
    body = json.dumps(payload, ensure_ascii=False).encode()
    timestamp = int((at or datetime.now(UTC)).timestamp())
    secrets = settings.signing_secrets if secrets is None else secrets
    signed = signature_headers(event_id, timestamp, body, secrets)
    headers = {"content-type": "application/json", **signed}
    return call(settings, "POST", url, headers, body, deadline_s=DEADLINE_S)


def call(
    settings: Settings,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    deadline_s: float,
) -> DeliveryResult:
    """Make one HTTP request; whatever goes wrong is in the result, without a secret.

    A redirect is not followed, and of the response only the status is read.

    Args:
        settings: Where a request may go.
        method: POST or GET.
        url: Its address.
        headers: Its headers, beside those of any request.
        body: Its body; empty for none.
        deadline_s: What it may take in all, however slowly the answer comes (s).
    """
    agent = {"user-agent": f"sqp_refresh/{__version__}"}
    network = GuardedNetwork(
        allow_private=settings.REFRESH_WEBHOOK_ALLOW_PRIVATE,
        deadline=time.monotonic() + deadline_s,
    )
    try:
        sent = agent | _credentials(url) | dict(headers)
        return _result_of(_response_status(network, method, encoded_url(url), sent, body))
    except idna.IDNAError:
        return DeliveryResult("has a host name that is none", is_final=True)
    except PrivateAddress as error:
        return DeliveryResult(str(error))
    except httpcore.ConnectError as error:
        return DeliveryResult(f"cannot be reached: {one_line(error)}")
    except httpcore.TimeoutException:
        return DeliveryResult("did not answer in time")
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        # The message of these may quote what was sent.
        return DeliveryResult(f"interrupted the connection ({type(error).__name__})")


def encoded_url(url: str) -> httpcore.URL:
    """Return an address as it is sent: its host by IDNA, the rest percent-encoded.

    The host is mapped as browsers map it, so that other digits and full stops than those of ASCII
    are an IP address here, too, before that is checked.

    Raises:
        idna.IDNAError: it has a host name that cannot be.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    return httpcore.URL(
        scheme=parts.scheme,
        host=host if host.isascii() else _encoded_host(host),
        port=parts.port,
        target=quote(target, safe=_KEPT),
    )


def _encoded_host(host: str) -> str:
    # Not `idna.encode`, which refuses names that are in use: with an emoji or an underscore.
    labels = idna.uts46_remap(host, std3_rules=False).split(".")
    return ".".join(
        label if label.isascii() else f"xn--{label.encode('punycode').decode()}" for label in labels
    )


def _response_status(
    network: GuardedNetwork,
    method: str,
    url: httpcore.URL,
    headers: dict[str, str],
    body: bytes,
) -> int:
    timeouts = {"connect": CONNECT_S, "read": DEADLINE_S, "write": DEADLINE_S, "pool": CONNECT_S}
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    with (
        httpcore.ConnectionPool(network_backend=network) as pool,
        pool.stream(
            method, url, headers=encoded, content=body or None, extensions={"timeout": timeouts}
        ) as response,
    ):
        return response.status


def _result_of(status: int) -> DeliveryResult:
    if status // 100 == 2:
        return DeliveryResult(status=status)
    if status // 100 == 3:
        return DeliveryResult(f"answered {status}; a redirect is not followed", status)
    if status == _GONE:
        return DeliveryResult("answered 410: it wants no more of this", status, is_final=True)
    return DeliveryResult(f"answered {status}", status)


def _credentials(url: str) -> dict[str, str]:
    """Return the header for a user and a password in the URL, which HTTP does not send."""
    parts = urlsplit(url)
    if parts.username is None:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
