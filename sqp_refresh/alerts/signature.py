"""Sign alerts as the Standard Webhooks specify, so that a receiver can verify the sender."""

import base64
import hashlib
import hmac

from pydantic import SecretStr

from sqp_refresh.settings import BASE64_SECRET


def signature_headers(
    event_id: str, timestamp: int, body: bytes, secret: SecretStr | None
) -> dict[str, str]:
    """Return the headers of one attempt; without a secret it is not signed.

    Args:
        event_id: The alert's id, the same in every attempt.
        timestamp: When the attempt is made, in seconds since 1970.
        body: Exactly the bytes that are sent.
        secret: The key that both sides share: text, or base64 after `whsec_`.
    """
    headers = {"webhook-id": event_id, "webhook-timestamp": str(timestamp)}
    if secret is None:
        return headers
    signed = b".".join((event_id.encode(), str(timestamp).encode(), body))
    digest = hmac.new(_key(secret.get_secret_value()), signed, hashlib.sha256).digest()
    return headers | {"webhook-signature": f"v1,{base64.b64encode(digest).decode()}"}


def _key(secret: str) -> bytes:
    if secret.startswith(BASE64_SECRET):
        return base64.b64decode(secret.removeprefix(BASE64_SECRET))
    return secret.encode()
