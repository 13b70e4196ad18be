"""What went wrong with a worker and was mended, and what a worker is at: told while a run plays."""

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


Notice = Callable[[Incident], None]
"""Takes an incident; called on whatever thread met it."""


def unnoticed(incident: Incident) -> None:
    """Nobody is told."""
    del incident


@dataclass(frozen=True, slots=True)
class Working:
    """What one worker has in hand: its name, the work, and for how many seconds nothing came of it."""

    worker: str
    has: str
    silent_s: float

    def __str__(self) -> str:
        return f"{self.worker}: {self.has}, silent for {self.silent_s:.0f} s"


AtWork = Callable[[], Sequence[Working]]


def idle() -> Sequence[Working]:
    """Nobody is at work."""
    return ()


NAMED = 5


def in_flight(prompts: Sequence[int]) -> str:
    """How many prompts a worker has in hand, and the first of them by number."""
    named = ", ".join(map(str, prompts[:NAMED])) + (", ..." if len(prompts) > NAMED else "")
    return f"{len(prompts)} prompts in flight ({named})" if prompts else "nothing in flight"
