"""Schemas of events."""

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
    """When it happened, by the database's clock."""
    kind: str
    """What happened: `registered`, `running`, `stage_closed`, `chunk_paired`, `iteration_finished`, `finished`, …"""
    iteration: int | None
    """The iteration that it belongs to, if any."""
    stage: str | None
    """The stage that it belongs to, if any."""
    data: Mapping[str, Any]
    """Details, which depend on the kind."""


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
    """Describes an event without these secrets."""
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
    """The events after the requested number."""
    last: int
    """The number of the last event here, or the requested one if there is none: send it as `after` to continue."""
