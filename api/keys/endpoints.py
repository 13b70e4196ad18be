"""API keys over the API: what `eva keys` does on the server. Only with a key of scope admin."""

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
    """What a key is for."""

    name: str = Field(min_length=1, max_length=100)
    """Who or what uses it."""
    scope: Scope = "read"
    """What it may do: `read`, `write` includes it, `admin` both."""
    days: int | None = Field(default=90, ge=1, le=3650)
    """How long it is valid; null: for ever."""


class Key(Schema):
    """A key as one may show it."""

    key: str
    """Its beginning."""
    name: str
    """Who or what uses it."""
    scope: Scope
    """What it may do."""
    live: bool
    """Whether it is valid: neither expired nor revoked."""
    created_at: datetime
    """When it was made."""
    expires_at: datetime | None
    """When it ends; null: never."""
    last_used_at: datetime | None
    """The beginning of the hour in which it was last used; null: never."""
    revoked_at: datetime | None
    """When it was revoked."""


class NewKey(Key):
    """A key, this once in full."""

    secret: str
    """The key itself: only a salted digest of it is stored."""


class Keys(Schema):
    """Keys, newest first."""

    items: list[Key]
    """All that were made."""


@router.get("")
def list_keys(here: Here) -> Keys:
    """Which keys were made? 409 where the service asks for none."""
    _require_access(here)
    with here.reading() as conn:
        return Keys(items=[_key(row) for row in api_keys.list_keys(conn)])


@router.post("", status_code=201)
def create_key(here: Here, wanted: KeyRequest) -> NewKey:
    """Make a key: the answer has it in full, this once."""
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
    """Let a key be valid no longer."""
    _require_access(here)
    with here.store.transaction() as conn:
        api_keys.revoke_key(conn, key.removeprefix("eva_"))


def _require_access(here: Service) -> None:
    """Whoever reaches a service that asks for no keys must not make keys that are valid when it does."""
    if here.access is None:
        raise ConflictError(
            "this service asks for no keys, so nobody may hand them out here",
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
