"""`eva keys`: creates, lists and revokes API keys."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from cli.store_access import store_of
from cli.terminal.formats import print_json, print_table
from cli.terminal.safe_text import printable
from eva.errors import InputError
from eva.runtime.api_keys import SCOPES, Scope, prefix_of
from eva.settings import read_settings

if TYPE_CHECKING:
    from store.runs.api_keys import KeyRow

_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1)}
_LONGEST = timedelta(days=3650)


@click.group()
def keys() -> None:
    """Create, list and revoke the API keys that `eva serve` asks for.

    Only a salted digest of a key is stored, so the key itself is shown once.
    """


@keys.command()
@click.argument("name")
@click.option(
    "--scope",
    type=click.Choice(SCOPES),
    default="read",
    show_default=True,
    help="read: see everything; write: also launch and control runs; admin: everything.",
)
@click.option(
    "--expires", default="90d", show_default=True, metavar="TIME", help="When it expires: 12h, 30d, or `never`."
)
def create(name: str, scope: Scope, expires: str) -> None:
    """Create a key called NAME, which should say who or what uses it."""
    from store.runs.api_keys import create_key

    lifetime = _lifetime(expires)
    if not name.strip() or len(name) > 100:
        raise InputError(
            f"{name[:100]!r} is not a usable name for a key",
            expected="1 to 100 characters",
            next_move="Name who or what uses the key, such as `grafana`",
        )
    with store_of(read_settings()) as store, store.transaction() as conn:
        key, row = create_key(conn, name, scope, lifetime)
    click.echo(key)
    click.echo(
        f"This is the key for {printable(name)}, scope {scope}, valid {_until(row)}. It will not be shown again.\n"
        f"  curl -H 'Authorization: Bearer {key[:13]}…' http://HOST:8377/v1/runs",
        err=True,
    )


@keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(as_json: bool) -> None:
    """List the keys, newest first."""
    from store.runs.api_keys import list_keys

    with store_of(read_settings()) as store, store.transaction() as conn:
        rows = list_keys(conn)
    if as_json:
        print_json([_facts(row) for row in rows])
        return
    cells = [
        (f"eva_{row.prefix}", row.name, row.scope, _status(row), _day(row.created_at), _hour(row.last_used_at))
        for row in rows
    ]
    headings = ("key", "name", "scope", "status", "created", "last used")
    print_table(headings, cells, empty="There are no keys. Create one with `eva keys create NAME`.")


@keys.command()
@click.argument("key")
def revoke(key: str) -> None:
    """Revoke KEY: the prefix that `eva keys list` shows, or the whole key."""
    from store.runs.api_keys import revoke_key

    prefix = prefix_of(key) or key.removeprefix("eva_")
    with store_of(read_settings()) as store, store.transaction() as conn:
        revoke_key(conn, prefix)
    click.echo(f"Revoked eva_{printable(prefix)}. A running service stops accepting it within 2 seconds.")


def _lifetime(expires: str) -> timedelta | None:
    if expires == "never":
        return None
    match = re.fullmatch(r"([1-9]\d{0,4})([hd])", expires)
    lifetime = match and int(match[1]) * _UNITS[match[2]]
    if lifetime is None or lifetime > _LONGEST:
        raise InputError(
            f"--expires is {expires[:40]!r}",
            next_move="Use one of these",
            expected="hours or days, such as 12h or 30d (at most 3650d), or never",
        )
    return lifetime


def _facts(row: KeyRow) -> dict[str, object]:
    def shown(at: datetime | None) -> str | None:
        return at and at.isoformat()

    return {
        "key": f"eva_{row.prefix}",
        "name": row.name,
        "scope": row.scope,
        "live": row.live,
        "created_at": shown(row.created_at),
        "expires_at": shown(row.expires_at),
        "last_used_at": shown(row.last_used_at),
        "revoked_at": shown(row.revoked_at),
    }


def _status(row: KeyRow) -> str:
    if row.revoked_at is not None:
        return "revoked"
    return f"valid {_until(row)}" if row.live else "expired"


def _until(row: KeyRow) -> str:
    return "forever" if row.expires_at is None else f"until {_hour(row.expires_at)}"


def _day(at: datetime) -> str:
    return at.strftime("%Y-%m-%d")


def _hour(at: datetime | None) -> str:
    return "never" if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M")
