"""Queries about deliveries: the messages of webhooks, from the event that they tell to the receiver's response.

A delivery is stored in the transaction that stores its event, whoever plays the run. One service sends them.
"""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Double, Select, case, cast, delete, func, insert, or_, select, text, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.dialects.postgresql import insert as upsert

from eva.webhooks.messages import TEST, Form, Message, check_message, event_message, topic_of
from store.postgres.values import clean_json, redacted_text
from store.rows import JsonObject
from store.schema.tables import runs, webhook_deliveries, webhooks

State = Literal["waiting", "delivered", "given_up"]
SHOWN = 100
KEPT_DAYS = 7
"""How long a delivery is kept after it was delivered or given up."""
_LETTERS = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A delivery as people see it. `status` is the status of the receiver's last response, if there was one."""

    id: str
    topic: str
    run: str | None
    state: State
    attempts: int
    status: int | None
    error: str | None
    created_at: datetime
    next_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, repr=False)
class DueDelivery:
    """A delivery to be sent now, with the secrets of its webhook; it is never shown. `age_s`: since it was stored."""

    id: str
    webhook: str
    url: str
    form: Form
    secret: str
    run_id: int | None
    topic: str
    message: Message
    attempts: int
    age_s: float


def store_deliveries(
    conn: Connection,
    run_id: int,
    number: int,
    kind: str,
    data: JsonObject,
    *,
    iteration: int | None,
    stage: str | None,
) -> None:
    """Stores a delivery of an event for each webhook that is to be told about it. `data` has no secrets any more."""
    if (topic := topic_of(kind)) is None:
        return
    named = runs.c.config["webhooks"].contains(func.to_jsonb(webhooks.c.name))
    tagged = ~webhooks.c.only_named & or_(webhooks.c.tags == text("'{}'::text[]"), webhooks.c.tags.overlap(runs.c.tags))
    query = (
        select(webhooks.c.id, runs, func.clock_timestamp().label("now"))
        .join(runs, runs.c.id == run_id)
        .where(webhooks.c.topics.contains([topic]), or_(named, tagged))
    )
    event = {"number": number, "kind": kind, "iteration": iteration, "stage": stage, "data": data}
    for row in conn.execute(query).mappings().all():
        shown = {name: row[name] for name in ("name", "status", "iteration")}
        run = {**shown, "iterations": row["config"].get("iterations"), "tags": row["tags"]}
        message = event_message(topic, _time(row["now"]), run, event)
        conn.execute(
            upsert(webhook_deliveries)
            .values(
                id=_new_id(),
                webhook_id=row["id"],
                run_id=run_id,
                event=number,
                topic=topic,
                message=clean_json(message),
            )
            .on_conflict_do_nothing()
        )


def store_test(conn: Connection, webhook: str) -> DeliveryRow:
    """Stores a delivery that tells nothing, to find out whether a webhook works. The webhook exists."""
    row = conn.execute(
        select(webhooks.c.id, func.clock_timestamp().label("now")).where(webhooks.c.name == webhook)
    ).one()
    message, delivery = check_message(webhook, _time(row.now)), _new_id()
    conn.execute(insert(webhook_deliveries).values(id=delivery, webhook_id=row.id, topic=TEST, message=message))
    return next(each for each in list_deliveries(conn, webhook) if each.id == delivery)


def list_deliveries(conn: Connection, webhook: str) -> list[DeliveryRow]:
    """Returns the newest deliveries of a webhook, at most SHOWN."""
    deliveries = webhook_deliveries.c
    query = _shown().where(webhooks.c.name == webhook).order_by(deliveries.created_at.desc(), deliveries.id)
    return [DeliveryRow(*row) for row in conn.execute(query.limit(SHOWN))]


def newest_sent(conn: Connection) -> dict[str, DeliveryRow]:
    """Returns the newest delivery of each webhook, by its name, of those that were sent at least once."""
    deliveries = webhook_deliveries.c
    query = (
        _shown()
        .add_columns(webhooks.c.name)
        .where(deliveries.attempts > 0)
        .ext(distinct_on(webhooks.c.id))
        .order_by(webhooks.c.id, deliveries.created_at.desc(), deliveries.id)
    )
    return {name: DeliveryRow(*row) for *row, name in conn.execute(query)}


def _shown() -> Select[*tuple[Any, ...]]:
    """The columns of DeliveryRow."""
    deliveries = webhook_deliveries.c
    return (
        select(
            deliveries.id,
            deliveries.topic,
            runs.c.name,
            deliveries.state,
            deliveries.attempts,
            deliveries.status,
            deliveries.error,
            deliveries.created_at,
            case((deliveries.state == "waiting", deliveries.next_at)),
            deliveries.finished_at,
        )
        .select_from(webhook_deliveries)
        .join(webhooks, webhooks.c.id == deliveries.webhook_id)
        .join(runs, runs.c.id == deliveries.run_id, isouter=True)
    )


def due_deliveries(conn: Connection) -> list[DueDelivery]:
    """Returns the deliveries to be sent now: of each webhook the one that has been due for longest."""
    deliveries = webhook_deliveries.c
    age_s = cast(func.extract("epoch", func.clock_timestamp() - deliveries.created_at), Double)
    query = (
        select(
            deliveries.id,
            webhooks.c.name,
            webhooks.c.url,
            webhooks.c.form,
            webhooks.c.secret,
            deliveries.run_id,
            deliveries.topic,
            deliveries.message,
            deliveries.attempts,
            age_s,
        )
        .join(webhooks, webhooks.c.id == deliveries.webhook_id)
        .where(deliveries.state == "waiting", deliveries.next_at <= func.clock_timestamp())
        .ext(distinct_on(deliveries.webhook_id))
        .order_by(deliveries.webhook_id, deliveries.next_at, deliveries.created_at)
    )
    return [DueDelivery(*row) for row in conn.execute(query)]


def record_attempt(
    conn: Connection,
    delivery: DueDelivery,
    state: State,
    *,
    status: int | None,
    error: str | None,
    pause_s: float = 0.0,
) -> None:
    """Records an attempt: delivered, given up, or waiting for the next attempt in `pause_s` seconds."""
    deliveries, now = webhook_deliveries.c, func.clock_timestamp()
    conn.execute(
        update(webhook_deliveries)
        .where(deliveries.id == delivery.id, deliveries.state == "waiting", deliveries.attempts == delivery.attempts)
        .values(
            state=state,
            attempts=deliveries.attempts + 1,
            status=status,
            error=None if error is None else redacted_text(error),
            next_at=now + func.make_interval(0, 0, 0, 0, 0, 0, pause_s),
            finished_at=None if state == "waiting" else now,
        )
    )


def delete_old(conn: Connection) -> None:
    """Deletes the deliveries that were delivered or given up KEPT_DAYS ago."""
    oldest = func.clock_timestamp() - func.make_interval(0, 0, 0, KEPT_DAYS)
    conn.execute(delete(webhook_deliveries).where(webhook_deliveries.c.finished_at < oldest))


def _new_id() -> str:
    return "msg_" + "".join(secrets.choice(_LETTERS) for _ in range(24))


def _time(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds")
