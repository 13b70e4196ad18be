"""API keys: their shape, their scopes, and the digest that is stored instead of them."""

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
"""A key: `eva_`, the prefix that it is recognised by, and 256 random bits."""


def make_key() -> tuple[str, str]:
    """A new key and its prefix."""
    prefix, secret = ("".join(secrets.choice(_LETTERS) for _ in range(count)) for count in (_PREFIX, _SECRET))
    return f"eva_{prefix}_{secret}", prefix


def prefix_of(key: str) -> str | None:
    """The prefix of a key; None where it has not the shape of one."""
    found = KEY.fullmatch(key)
    return found and found[1]


def key_digest(key: str, salt: bytes) -> bytes:
    """What is stored of a key. The salt is its own; 256 random bits need no slow hash."""
    return hmac.digest(salt, key.encode(), hashlib.sha256)


def includes(scope: Scope, needed: Scope) -> bool:
    """May a key of this scope do what needs that one?"""
    return SCOPES.index(scope) >= SCOPES.index(needed)
