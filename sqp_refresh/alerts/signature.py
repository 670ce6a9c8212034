"""Sign alerts as the Standard Webhooks specify, so that a receiver can verify the sender."""

import base64
import hashlib
import hmac
from collections.abc import Sequence

from pydantic import SecretStr

from sqp_refresh.settings import BASE64_SECRET


def signature_headers(
    event_id: str, timestamp: int, body: bytes, secrets: Sequence[SecretStr]
) -> dict[str, str]:
    """Return the headers of one attempt: a signature for each secret; without one it is not signed.

    A receiver accepts what one of the signatures fits, so that both sides can change to another
    secret one after the other.

    Args:
        event_id: The alert's id, the same in every attempt.
        timestamp: When the attempt is made, in seconds since 1970.
        body: Exactly the bytes that are sent.
        secrets: The keys that both sides share: text, or base64 after `whsec_`.
    """
    headers = {"webhook-id": event_id, "webhook-timestamp": str(timestamp)}
    if not secrets:
        return headers
    signed = b".".join((event_id.encode(), str(timestamp).encode(), body))
    signatures = " ".join(f"v1,{_signature(signed, secret)}" for secret in secrets)
    return headers | {"webhook-signature": signatures}


def _signature(signed: bytes, secret: SecretStr) -> str:
    digest = hmac.new(_key(secret.get_secret_value()), signed, hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def _key(secret: str) -> bytes:
    if secret.startswith(BASE64_SECRET):
        return base64.b64decode(secret.removeprefix(BASE64_SECRET))
    return secret.encode()
