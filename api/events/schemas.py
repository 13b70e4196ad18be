"""Events as the API shows them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from api.schema import Schema


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


class EventPage(Schema):
    """Events in order."""

    items: list[Event]
    """The events after the number asked for."""
    last: int
    """Number of the last of them, or the one asked for: give it as `after` to go on."""
