"""API keys: what `eva keys` does on the server, for callers with a key of scope admin."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import Field

from api.schema import Schema
from api.service import Here, Service
from eva.errors import ConflictError
from eva.runtime.api_keys import Scope
from store.runs import api_keys
from store.runs.api_keys import KeyRow

router = APIRouter(prefix="/v1/keys", tags=["keys"])


class KeyRequest(Schema):
    """A new key."""

    name: str = Field(min_length=1, max_length=100)
    """Who or what uses it."""
    scope: Scope = "read"
    """What it allows: `read`; `write`, which includes `read`; `admin`, which includes both."""
    days: int | None = Field(default=90, ge=1, le=3650)
    """How many days it is valid; null: for ever."""


class Key(Schema):
    """A key without its secret part."""

    key: str
    """Its beginning."""
    name: str
    """Who or what uses it."""
    scope: Scope
    """What it allows."""
    live: bool
    """Whether it is valid: neither expired nor revoked."""
    created_at: datetime
    """When it was made."""
    expires_at: datetime | None
    """When it ends; null: never."""
    last_used_at: datetime | None
    """The beginning of the hour in which it was last used; null: never."""
    revoked_at: datetime | None
    """When it was revoked; null: it was not."""


class NewKey(Key):
    """A new key in full. It cannot be shown again."""

    secret: str
    """The key itself. Only a salted digest of it is stored."""


class Keys(Schema):
    """Keys, newest first."""

    items: list[Key]
    """All keys."""


@router.get("")
def list_keys(here: Here) -> Keys:
    """All keys. 409 when the service requires none."""
    _require_access(here)
    with here.reading() as conn:
        return Keys(items=[_key(row) for row in api_keys.list_keys(conn)])


@router.post("", status_code=201)
def create_key(here: Here, wanted: KeyRequest) -> NewKey:
    """Make a key. Only this response has it in full."""
    _require_access(here)
    lasts = None if wanted.days is None else timedelta(days=wanted.days)
    with here.store.transaction() as conn:
        secret, row = api_keys.create_key(conn, wanted.name, wanted.scope, lasts)
    return NewKey(**_key(row).model_dump(), secret=secret)


@router.delete("/{key}", status_code=204)
def revoke_key(
    here: Here,
    key: Annotated[str, Path(max_length=60, description="The beginning of a key, as the list shows it.")],
) -> None:
    """Revoke a key."""
    _require_access(here)
    with here.store.transaction() as conn:
        api_keys.revoke_key(conn, key.removeprefix("eva_"))


def _require_access(here: Service) -> None:
    """Raises ConflictError when no keys are required: anybody could make keys that become valid when they are."""
    if here.access is None:
        raise ConflictError(
            "this service requires no keys, so they cannot be managed here",
            expected="`eva serve --require-keys`, or `--host` beyond loopback",
            next_move="Use `eva keys` on the server",
        )


def _key(row: KeyRow) -> Key:
    return Key(
        key=f"eva_{row.prefix}",
        name=row.name,
        scope=row.scope,
        live=row.live,
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
    )
