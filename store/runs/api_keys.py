"""Queries about API keys. Only a salted digest of a key is stored, never the key itself."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, insert, or_, select, update

from eva.errors import NotFoundError
from eva.runtime.api_keys import Scope, key_digest, make_key
from store.postgres.values import clean_text
from store.schema.tables import api_keys


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key without its secret. `last_used_at` is rounded down to the hour; `live`: neither expired nor revoked."""

    prefix: str
    name: str
    scope: Scope
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    live: bool


@dataclass(frozen=True, slots=True)
class LiveKey:
    """A valid key's salt and digest, to compare a sent key with."""

    prefix: str
    scope: Scope
    salt: bytes
    digest: bytes
    expires_at: datetime | None


_live = api_keys.c.revoked_at.is_(None) & or_(
    api_keys.c.expires_at.is_(None), api_keys.c.expires_at > func.clock_timestamp()
)


def create_key(conn: Connection, name: str, scope: Scope, lasts: timedelta | None) -> tuple[str, KeyRow]:
    """Creates a key that is valid for `lasts` (None: for ever). Returns the key, which is not stored, and its row."""
    key, prefix = make_key()
    salt = secrets.token_bytes(16)
    conn.execute(
        insert(api_keys).values(
            prefix=prefix,
            name=clean_text(name),
            scope=scope,
            salt=salt,
            digest=key_digest(key, salt),
            expires_at=None if lasts is None else func.clock_timestamp() + lasts,
        )
    )
    return key, next(row for row in list_keys(conn) if row.prefix == prefix)


def list_keys(conn: Connection) -> list[KeyRow]:
    """Returns all keys, newest first."""
    columns = (
        api_keys.c.prefix,
        api_keys.c.name,
        api_keys.c.scope,
        api_keys.c.created_at,
        api_keys.c.expires_at,
        api_keys.c.last_used_at,
        api_keys.c.revoked_at,
        _live,
    )
    return [KeyRow(*row) for row in conn.execute(select(*columns).order_by(api_keys.c.id.desc()))]


def live_keys(conn: Connection) -> list[LiveKey]:
    """Returns the keys that are valid now."""
    columns = (api_keys.c.prefix, api_keys.c.scope, api_keys.c.salt, api_keys.c.digest, api_keys.c.expires_at)
    return [LiveKey(*row) for row in conn.execute(select(*columns).where(_live))]


def revoke_key(conn: Connection, prefix: str) -> None:
    """Revokes a key. Repeating it is harmless. Raises NotFoundError."""
    now = func.coalesce(api_keys.c.revoked_at, func.clock_timestamp())
    result = conn.execute(update(api_keys).where(api_keys.c.prefix == clean_text(prefix)).values(revoked_at=now))
    if not result.rowcount:
        raise NotFoundError(
            f"there is no key {prefix[:100]!r}",
            expected="the 8 letters after `eva_` of a key",
            next_move="List them with `eva keys list`",
        )


def record_use(conn: Connection, prefix: str) -> None:
    """Records that the key was used in this hour. A finer time would show when its owner works."""
    hour = func.date_trunc("hour", func.clock_timestamp())
    is_older = or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at < hour)
    conn.execute(update(api_keys).where(api_keys.c.prefix == prefix, is_older).values(last_used_at=hour))
