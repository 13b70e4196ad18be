"""The interface to a tracking service, and the figures of a run that are sent to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Axis = Literal["iteration", "policy", "training_step"]


@dataclass(frozen=True, slots=True)
class TrackingPoint:
    """Figures of one moment of a run. A run always yields the same points in the same order.

    Attributes:
        number: counted from 1 over the whole run.
        axis, place: the iteration, checkpoint or training step (counted over all training jobs) that they belong to.
        at_ms: the time, in milliseconds since 1970.
        values: finite numbers by name.
    """

    number: int
    axis: Axis
    place: int
    at_ms: int
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Opening:
    """What a tracking service needs to open a run. The config has no secrets; `identity` never changes."""

    identity: str
    name: str
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])


class TrackerError(Exception):
    """A tracking service failed, or did not respond in time."""


class Tracker(Protocol):
    """One run at one tracking service. Each call is bounded in time and raises TrackerError."""

    def open(self, opening: Opening) -> str:
        """Starts or continues the run of this identity. Returns the address that shows it, "" if unknown."""
        ...

    def send(self, points: Sequence[TrackingPoint]) -> None:
        """Stores points; those that are already stored are not stored twice."""
        ...

    def close(self, status: str) -> None:
        """Ends the tracking with the run's final status, when the driver ends."""
        ...

    def drop(self) -> None:
        """Ends the tracking whatever it is doing; it can be opened again."""
        ...

    def kill(self) -> None:
        """Makes the current call fail at once; may be called from another thread."""
        ...
