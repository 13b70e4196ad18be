"""Steers a creator whose batches lose their diversity, before the run has to pause.

A batch that crosses a bound raises the level by one, a batch that crosses none lowers it by one. Each level gives the
buffer a larger share of the batch, flattens the weights by which prompts are sampled, and raises the floor for breadth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eva.measures.diversity import Breach, breaches


@dataclass(frozen=True, slots=True)
class SteeringRule:
    """How a run is steered: `bounds` by figure of diversity, and what each of at most `levels` changes."""

    bounds: Mapping[str, float]
    levels: int
    buffer: float
    temperature: float
    breadth: float


@dataclass(frozen=True, slots=True)
class Steering:
    """What an iteration is steered by. `why`: the bounds that the batch before it has crossed.

    `buffer` is added to the buffer's share, the weights are flattened by `temperature`, `breadth` is added to the floor
    for breadth.
    """

    level: int = 0
    why: tuple[Breach, ...] = ()
    buffer: float = 0.0
    temperature: float = 1.0
    breadth: float = 0.0

    def __str__(self) -> str:
        why = ", ".join(map(str, self.why)) or "no bound is crossed any more"
        return (
            f"steered at level {self.level} ({why}): buffer's share + {self.buffer:g}, weights flattened by "
            f"{self.temperature:g}, breadth + {self.breadth:g}"
        )


UNSTEERED = Steering()


def steering_of(rule: SteeringRule, batches: Sequence[Mapping[str, object]]) -> Steering:
    """Returns what the next iteration is steered by, from the figures of diversity of all batches so far, in order."""
    level, crossed = 0, list[Breach]()
    for figures in batches:
        crossed = breaches(figures, rule.bounds)
        level = min(level + 1, rule.levels) if crossed else max(level - 1, 0)
    return Steering(level, tuple(crossed), level * rule.buffer, rule.temperature**level, level * rule.breadth)
