"""Webhooks: what `eva webhooks` does. A service that requires keys asks for one of scope admin."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from api.service import Here
from api.webhooks.schemas import Deliveries, Delivery, NewWebhook, Webhook, WebhookRequest, Webhooks
from store.postgres.values import clean_text
from store.webhooks import deliveries, webhooks
from store.webhooks.webhooks import Subscription

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])

WebhookName = Annotated[
    str, Path(min_length=1, max_length=60, pattern="^[^/:]+$", description="The name of a webhook.")
]


@router.get("")
def list_webhooks(here: Here) -> Webhooks:
    """All webhooks, with how many deliveries wait, were accepted and were given up."""
    with here.reading() as conn:
        return Webhooks(items=[Webhook.model_validate(row) for row in webhooks.list_webhooks(conn)])


@router.post("", status_code=201)
def create_webhook(here: Here, wanted: WebhookRequest) -> NewWebhook:
    """Add a webhook. Only this response has its secret."""
    subscription = Subscription(
        tuple(dict.fromkeys(wanted.topics)), tuple(clean_text(tag) for tag in wanted.tags), wanted.runs == "named"
    )
    with here.store.transaction() as conn:
        secret, row = webhooks.add_webhook(conn, wanted.name, wanted.url, wanted.form, subscription)
    return NewWebhook(**Webhook.model_validate(row).model_dump(), secret=secret)


@router.delete("/{webhook:run}", status_code=204)
def remove_webhook(here: Here, webhook: WebhookName) -> None:
    """Remove a webhook, with what it was not told yet."""
    with here.store.transaction() as conn:
        webhooks.remove_webhook(conn, clean_text(webhook))


@router.post("/{webhook:run}:test", status_code=202)
def send_test(here: Here, webhook: WebhookName) -> Delivery:
    """Send a test. Its delivery says how it went, after a second or so."""
    with here.store.transaction() as conn:
        row = webhooks.get_webhook(conn, clean_text(webhook))
        return Delivery.model_validate(deliveries.store_test(conn, row.name))


@router.get("/{webhook:run}/deliveries")
def list_deliveries(here: Here, webhook: WebhookName) -> Deliveries:
    """The newest deliveries of a webhook, and how their last attempts went."""
    with here.reading() as conn:
        row = webhooks.get_webhook(conn, clean_text(webhook))
        rows = deliveries.list_deliveries(conn, row.name)
    return Deliveries(items=[Delivery.model_validate(each) for each in rows])
