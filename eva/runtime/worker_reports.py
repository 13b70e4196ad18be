"""What workers report to the driver while a run plays: incidents, what each has in hand, and counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from eva.types import TrainingStep


@dataclass(frozen=True, slots=True)
class Incident:
    """A fault that a run survived or that ended it.

    Attributes:
        kind: the kind of the stored event (docs/reliability.md lists them).
        text: one line for people.
        data: the same for programs: slot, reason, prompts that were repeated, ...
    """

    kind: str
    text: str
    data: Mapping[str, object] = field(default_factory=dict[str, object])


IncidentListener = Callable[[Incident], None]
"""Receives an incident, on the thread where it occurred."""


def ignore_incident(incident: Incident) -> None:
    """Ignores an incident."""
    del incident


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """What one worker is doing: its name, its task, and the seconds since its last result."""

    worker: str
    task: str
    silent_s: float

    def __str__(self) -> str:
        return f"{self.worker}: {self.task}, silent for {self.silent_s:.0f} s"


WorkerStatuses = Callable[[], Sequence[WorkerStatus]]


def no_workers() -> Sequence[WorkerStatus]:
    """Returns no status: there are no workers."""
    return ()


MOST_NAMED = 5


def describe_in_flight(prompts: Sequence[int]) -> str:
    """Describes the prompts that a worker is processing: how many, and the numbers of the first few."""
    named = ", ".join(map(str, prompts[:MOST_NAMED])) + (", ..." if len(prompts) > MOST_NAMED else "")
    return f"{len(prompts)} prompts in flight ({named})" if prompts else "nothing in flight"


StepListener = Callable[[TrainingStep, int], None]
"""Receives every step of a training job, with the number of all its steps."""

Note = Callable[[str], None]
"""Receives what a job does, as often as the job likes. One that tells nothing for long counts as hung."""


def ignore_note(doing: str) -> None:
    """Ignores a note."""
    del doing


Readings = Callable[[], Mapping[str, int]]
"""Returns counts by name, which only grow."""


def no_readings() -> Mapping[str, int]:
    """Returns no counts."""
    return {}


@dataclass(slots=True)
class Meter:
    """The counts of a driver's workers, once the workers have started."""

    read: Readings = no_readings


def added_since(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    """Returns how much each count has grown, without those that have not."""
    return {name: added for name, count in now.items() if (added := count - before.get(name, 0))}
