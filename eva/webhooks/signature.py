"""Signs messages of webhooks as Standard Webhooks defines: HMAC-SHA256 over the id, the time and the body."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

_PREFIX, _BYTES = "whsec_", 32


def make_secret() -> str:
    """Returns a new secret: `whsec_` and 256 random bits in Base64."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_BYTES)).decode()


def signed_headers(secret: str, message: str, seconds: int, body: bytes) -> dict[str, str]:
    """Returns the headers that prove who sent a message, and when.

    `message` is the delivery's id, the same at every attempt; `seconds` since 1970 is the time of this attempt.
    """
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    digest = hmac.digest(key, f"{message}.{seconds}.".encode() + body, hashlib.sha256)
    return {
        "webhook-id": message,
        "webhook-timestamp": str(seconds),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
