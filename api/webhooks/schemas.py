"""The schemas of webhooks."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from api.schema import Schema
from eva.webhooks.addresses import LONGEST_URL
from eva.webhooks.messages import TOPICS, Form, Topic
from store.webhooks.deliveries import State
from store.webhooks.webhooks import Runs


class WebhookRequest(Schema):
    """A new webhook."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,59}$")
    """Its name: lower-case letters, digits, `.`, `_`, `-`."""
    url: str = Field(min_length=1, max_length=LONGEST_URL)
    """Where messages are sent: https, and a public address unless the service allows its network
    (EVA_WEBHOOK_NETWORKS). It is not shown again as a whole."""
    form: Form = "json"
    """`json`: the whole message; `slack`: its sentence, for an incoming webhook of Slack or of a program like it."""
    topics: list[Topic] = Field(default=list(TOPICS), min_length=1, max_length=len(TOPICS))
    """What it is told: that a run `finished`, `failed`, `paused`, or that something deserves a look (`warning`)."""
    tags: list[Annotated[str, Field(min_length=1, max_length=100)]] = Field(default=[], max_length=20)
    """Of runs with one of these tags; empty: of runs with any tags."""
    runs: Runs = "all"
    """`named`: only of runs whose config names it (key `webhooks`); `all`: of those and of all others."""


class Delivery(Schema):
    """A message on its way to a webhook's receiver."""

    id: str
    """Its id, which the receiver sees at every attempt (`webhook-id`)."""
    topic: str
    """What it tells: `finished`, `failed`, `paused`, `warning`; `test` tells nothing."""
    run: str | None
    """The run that it is about; null: a test."""
    state: State
    """`waiting` for its next attempt, `delivered`, or `given_up`."""
    attempts: int
    """How often it was sent so far."""
    status: int | None
    """The status of the receiver's last response; null: there was none."""
    error: str | None
    """Why the last attempt failed; null: it did not."""
    created_at: datetime
    """When the event happened."""
    next_at: datetime | None
    """When it is sent next; null: not again."""
    finished_at: datetime | None
    """When it was delivered or given up; null: it is waiting."""


class Webhook(Schema):
    """A webhook without its secrets."""

    name: str
    """Its name."""
    url: str
    """Where messages are sent, without the path: that is often a secret."""
    form: Form
    """`json` or `slack`."""
    topics: list[Topic]
    """What it is told."""
    tags: list[str]
    """Of runs with one of these tags; empty: of runs with any tags."""
    runs: Runs
    """Whether it is told of `all` runs, or only of those whose config names it (`named`)."""
    created_at: datetime
    """When it was added."""
    waiting: int
    """Deliveries that its receiver has not accepted yet."""
    delivered: int
    """Deliveries of the last 7 days that it has accepted."""
    given_up: int
    """Deliveries of the last 7 days that were given up, because it had not accepted them within 24 hours."""
    last_error: str | None
    """Why the newest delivery that it has not accepted failed; null: none failed."""
    last: Delivery | None
    """Its newest delivery that was sent at least once; null: there is none."""


class NewWebhook(Webhook):
    """A new webhook with its secret. The secret cannot be shown again."""

    secret: str
    """Signs every message, as Standard Webhooks defines it (docs/reference/webhooks.md)."""


class Webhooks(Schema):
    """Webhooks, by name."""

    items: list[Webhook]
    """All webhooks."""


class Deliveries(Schema):
    """Deliveries of a webhook, newest first."""

    items: list[Delivery]
    """The newest 100."""
