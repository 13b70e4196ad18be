"""API keys: their shape, their scopes, and the digest that is stored in their place."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
from typing import Literal, get_args

Scope = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
"""What a key may do: each scope includes those before it."""

_LETTERS = string.ascii_letters + string.digits
_PREFIX, _SECRET = 8, 43
KEY = re.compile(rf"eva_([{_LETTERS}]{{{_PREFIX}}})_([{_LETTERS}]{{{_SECRET}}})")
"""A key: `eva_`, a prefix that identifies it, and 256 random bits."""


def make_key() -> tuple[str, str]:
    """Returns a new key and its prefix."""
    prefix, secret = ("".join(secrets.choice(_LETTERS) for _ in range(count)) for count in (_PREFIX, _SECRET))
    return f"eva_{prefix}_{secret}", prefix


def prefix_of(key: str) -> str | None:
    """Returns the prefix of a key, or None if the text does not have the shape of a key."""
    match = KEY.fullmatch(key)
    return match and match[1]


def key_digest(key: str, salt: bytes) -> bytes:
    """Returns the digest of a key that is stored. Each key has its own salt; 256 random bits need no slow hash."""
    return hmac.digest(salt, key.encode(), hashlib.sha256)


def includes(scope: Scope, needed: Scope) -> bool:
    """Returns whether a key with this scope may do what requires the scope `needed`."""
    return SCOPES.index(scope) >= SCOPES.index(needed)
