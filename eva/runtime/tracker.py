"""What is told to a tracking service about a run, and by whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Axis = Literal["iteration", "policy", "training_step"]


@dataclass(frozen=True, slots=True)
class Point:
    """Figures of one moment of a run. A run gives the same points in the same order whenever it is asked.

    Attributes:
        number: from 1, over the whole run.
        axis, place: which iteration, checkpoint or training step (counted over all trainings) they are of.
        at_ms: when, in milliseconds since 1970.
        values: finite numbers by name.
    """

    number: int
    axis: Axis
    place: int
    at_ms: int
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Opening:
    """What a tracking service is told first. The config is free of secrets; `identity` is the run's for ever."""

    identity: str
    name: str
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])


class TrackerError(Exception):
    """A tracking service failed, or answered nothing in time."""


class Tracker(Protocol):
    """One run at one tracking service. Each call is bounded in time, and raises TrackerError."""

    def open(self, opening: Opening) -> str:
        """Begin, or go on with the run of this identity; where it is shown, "" if nobody knows."""
        ...

    def send(self, points: Sequence[Point]) -> None:
        """Store points; those that are stored already are not stored twice."""
        ...

    def close(self, status: str) -> None:
        """The driver ends, and this is how the run stands."""
        ...

    def drop(self) -> None:
        """End it, whatever it is at; it may be opened again."""
        ...

    def kill(self) -> None:
        """Let what it is at fail, now: another thread may ask."""
        ...
