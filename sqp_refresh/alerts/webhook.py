"""One POST to a webhook: signed, to the address that was checked, and over within seconds."""

import base64
import time
from urllib.parse import unquote, urlsplit

import httpcore

from sqp_refresh import __version__
from sqp_refresh.alerts.address import GuardedNetwork, PrivateAddress
from sqp_refresh.alerts.outbox import DeliveryResult
from sqp_refresh.alerts.signature import headers_of
from sqp_refresh.errors import one_line
from sqp_refresh.settings import Settings

CONNECT_S = 5
DEADLINE_S = 15
"""What an attempt may take in all, however slowly the receiver answers."""

_GONE = 410


def post(settings: Settings, url: str, event_id: str, payload: str) -> DeliveryResult:
    """Send an alert to a webhook; whatever goes wrong is in the answer, without a secret.

    A redirect is not followed, and of the answer only the status is read.
    """
    body = payload.encode()
    headers = {
        "content-type": "application/json",
        "user-agent": f"sqp_refresh/{__version__}",
        **_credentials(url),
        **headers_of(event_id, int(time.time()), body, settings.REFRESH_WEBHOOK_SECRET),
    }
    network = GuardedNetwork(
        allow_private=settings.REFRESH_WEBHOOK_ALLOW_PRIVATE, ends=time.monotonic() + DEADLINE_S
    )
    try:
        return _answer(_status(network, url, headers, body))
    except PrivateAddress as refused:
        return DeliveryResult(str(refused))
    except httpcore.ConnectError as error:
        return DeliveryResult(f"cannot be reached: {one_line(error)}")
    except httpcore.TimeoutException:
        return DeliveryResult("did not answer in time")
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        # What these say may quote what was sent.
        return DeliveryResult(f"broke off the connection ({type(error).__name__})")


def _status(network: GuardedNetwork, url: str, headers: dict[str, str], body: bytes) -> int:
    limits = {"connect": CONNECT_S, "read": DEADLINE_S, "write": DEADLINE_S, "pool": CONNECT_S}
    sent = [(name.encode(), value.encode()) for name, value in headers.items()]
    with (
        httpcore.ConnectionPool(network_backend=network) as pool,
        pool.stream(
            "POST", url, headers=sent, content=body, extensions={"timeout": limits}
        ) as response,
    ):
        return response.status


def _answer(status: int) -> DeliveryResult:
    if status // 100 == 2:
        return DeliveryResult(status=status)
    if status // 100 == 3:
        return DeliveryResult(f"answered {status}; a redirect is not followed", status)
    if status == _GONE:
        return DeliveryResult("answered 410: it wants no more of this", status, is_final=True)
    return DeliveryResult(f"answered {status}", status)


def _credentials(url: str) -> dict[str, str]:
    """What a user and a password in the URL become: HTTP sends no URL."""
    parts = urlsplit(url)
    if parts.username is None:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
