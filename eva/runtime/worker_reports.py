"""What workers report to the driver while a run plays: incidents, what each has in hand, and counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that a run survived, or ended by.

    Attributes:
        kind: what it is stored under as an event (docs/reliability.md lists them).
        text: one line for a person.
        data: the same as facts: slot, reason, prompts asked again, ...
    """

    kind: str
    text: str
    data: Mapping[str, object] = field(default_factory=dict[str, object])


IncidentListener = Callable[[Incident], None]
"""Takes an incident; called on whatever thread met it."""


def ignore_incident(incident: Incident) -> None:
    """Nobody is told."""
    del incident


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """What one worker has in hand: its name, the work, and for how many seconds nothing came of it."""

    worker: str
    task: str
    silent_s: float

    def __str__(self) -> str:
        return f"{self.worker}: {self.task}, silent for {self.silent_s:.0f} s"


WorkerStatuses = Callable[[], Sequence[WorkerStatus]]


def no_workers() -> Sequence[WorkerStatus]:
    """Nobody is at work."""
    return ()


NAMED = 5


def describe_in_flight(prompts: Sequence[int]) -> str:
    """How many prompts a worker has in hand, and the first of them by number."""
    named = ", ".join(map(str, prompts[:NAMED])) + (", ..." if len(prompts) > NAMED else "")
    return f"{len(prompts)} prompts in flight ({named})" if prompts else "nothing in flight"


Readings = Callable[[], Mapping[str, int]]
"""Counts that only grow, by name."""


def no_readings() -> Mapping[str, int]:
    """Nobody counts."""
    return {}


@dataclass(slots=True)
class Meter:
    """What a driver's workers count, once they are there."""

    read: Readings = no_readings


def added_since(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    """What was added; without what was not."""
    return {name: added for name, count in now.items() if (added := count - before.get(name, 0))}
