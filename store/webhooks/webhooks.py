"""Queries about webhooks. Their secrets and URLs are read by the sender alone."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Select, delete, func, insert, select, text

from eva.errors import ConflictError, InputError, NotFoundError
from eva.webhooks.addresses import parse_receiver, shown_url
from eva.webhooks.messages import Form, Topic
from eva.webhooks.signature import make_secret
from store.schema.tables import webhook_deliveries, webhooks
from store.webhooks.deliveries import DeliveryRow, newest_sent

MOST = 50
Runs = Literal["all", "named"]
_ADDING = 0x657670
"""Key of the advisory lock under which webhooks are counted and added."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a webhook is told: about these topics, of runs with one of these tags (none: of any tags).

    `only_named`: only of runs whose config names the webhook. A run that names it needs no tag.
    """

    topics: tuple[Topic, ...]
    tags: tuple[str, ...] = ()
    only_named: bool = False


@dataclass(frozen=True, slots=True)
class WebhookRow:
    """A webhook without its secret, how many of its deliveries are in which state, and what its last failure was.

    `url` is what may be shown of it; `runs` are `all` or those whose config has its name (`named`); `last` is its
    newest delivery that was sent at least once.
    """

    name: str
    url: str
    form: Form
    topics: tuple[Topic, ...]
    tags: tuple[str, ...]
    runs: Runs
    created_at: datetime
    waiting: int
    delivered: int
    given_up: int
    last_error: str | None
    last: DeliveryRow | None


def add_webhook(
    conn: Connection, name: str, url: str, form: Form, subscription: Subscription
) -> tuple[str, WebhookRow]:
    """Adds a webhook. Returns its secret, which is not shown again, and its row.

    Raises InputError for a URL that cannot be used, ConflictError if the name is taken or there are too many.
    """
    parts = parse_receiver(url)
    if form == "slack" and parts.scheme != "https":
        raise InputError(
            "the URL of a webhook of form slack begins with http://",
            expected="https://, because the URL is the only secret that Slack asks for",
            next_move="Copy it from Slack as it is",
        )
    conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADDING})
    names = conn.execute(select(webhooks.c.name)).scalars().all()
    if name in names or len(names) >= MOST:
        raise ConflictError(
            f"there is a webhook called {name!r} already" if name in names else f"there are {len(names)} webhooks",
            expected="a new name" if name in names else f"at most {MOST}",
            next_move="Choose another name, or remove one with `eva webhooks remove NAME`",
        )
    secret = make_secret()
    conn.execute(
        insert(webhooks).values(
            name=name,
            url=url,
            form=form,
            topics=list(subscription.topics),
            tags=list(subscription.tags),
            only_named=subscription.only_named,
            secret=secret,
        )
    )
    return secret, get_webhook(conn, name)


def list_webhooks(conn: Connection) -> list[WebhookRow]:
    """Returns all webhooks, by name."""
    sent = newest_sent(conn)
    return [_row(row, sent.get(row.name)) for row in conn.execute(_listed().order_by(webhooks.c.name))]


def get_webhook(conn: Connection, name: str) -> WebhookRow:
    """Returns a webhook. Raises NotFoundError."""
    row = conn.execute(_listed().where(webhooks.c.name == name)).one_or_none()
    if row is None:
        raise _not_found(conn, name)
    return _row(row, newest_sent(conn).get(name))


def remove_webhook(conn: Connection, name: str) -> None:
    """Removes a webhook with its deliveries. Raises NotFoundError."""
    if not conn.execute(delete(webhooks).where(webhooks.c.name == name)).rowcount:
        raise _not_found(conn, name)


def require_webhooks(conn: Connection, names: Collection[str]) -> None:
    """Raises InputError if a config names a webhook that does not exist."""
    if not names:
        return
    known = set(conn.execute(select(webhooks.c.name)).scalars())
    if missing := sorted(set(names) - known):
        raise InputError(
            f"webhooks names {', '.join(missing)}, but there is no such webhook",
            expected=f"names of webhooks: {', '.join(sorted(known)) or 'there are none yet'}",
            next_move="Add it with `eva webhooks add`, or correct the config",
        )


def _listed() -> Select[Any]:
    deliveries = webhook_deliveries.c
    newest_failure = (
        select(deliveries.error)
        .where(deliveries.webhook_id == webhooks.c.id, deliveries.error.is_not(None), deliveries.state != "delivered")
        .order_by(deliveries.created_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    counts = [
        select(func.count())
        .where(deliveries.webhook_id == webhooks.c.id, deliveries.state == state)
        .scalar_subquery()
        .label(state)
        for state in ("waiting", "delivered", "given_up")
    ]
    return select(webhooks, *counts, newest_failure.label("last_error"))


def _row(row: Any, last: DeliveryRow | None) -> WebhookRow:
    return WebhookRow(
        name=row.name,
        url=shown_url(row.url),
        form=row.form,
        topics=tuple(row.topics),
        tags=tuple(row.tags),
        runs="named" if row.only_named else "all",
        created_at=row.created_at,
        waiting=row.waiting,
        delivered=row.delivered,
        given_up=row.given_up,
        last_error=row.last_error,
        last=last,
    )


def _not_found(conn: Connection, name: str) -> NotFoundError:
    names = conn.execute(select(webhooks.c.name).order_by(webhooks.c.name)).scalars().all()
    return NotFoundError(
        f"there is no webhook {name[:100]!r}",
        expected=f"one of {', '.join(names)}" if names else "the name of a webhook, but there are none yet",
        next_move="List them with `eva webhooks list`",
    )
