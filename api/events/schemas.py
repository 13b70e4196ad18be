"""Events as the API shows them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from api.schema import Schema
from eva.runtime.redaction import redact_json
from store.rows import EventRow


class Event(Schema):
    """Something that happened in a run."""

    seq: int
    """Its number: 1, 2, 3 without gaps, in the order in which events became visible."""
    at: datetime
    """When, by the database's clock."""
    kind: str
    """What: `registered`, `running`, `stage_closed`, `iteration_finished`, `paused`, `finished`, …"""
    iteration: int | None
    """The iteration that it belongs to."""
    stage: str | None
    """The stage that it belongs to."""
    data: Mapping[str, Any]
    """More about it."""


SENT: dict[str, Any] = {
    "type": "object",
    "required": ["id", "data"],
    "properties": {
        "id": {"type": "string", "description": "The event's number."},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/Event"},
            "description": "The event.",
        },
    },
}
"""One event of a stream, as OpenAPI 3.2 describes it."""


def event_of(row: EventRow, secrets: Collection[str]) -> Event:
    """An event without these secrets."""
    return Event(
        seq=row.seq,
        at=row.at,
        kind=row.kind,
        iteration=row.iteration,
        stage=row.stage,
        data=redact_json(row.data, secrets),
    )


class EventPage(Schema):
    """Events in order."""

    items: list[Event]
    """The events after the number asked for."""
    last: int
    """Number of the last of them, or the one asked for: give it as `after` to go on."""
