"""What workers count while they work: whoever closes the books on a stage reads it off, and takes the difference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

Readings = Callable[[], Mapping[str, int]]
"""Counts that only grow, by name."""


def nothing() -> Mapping[str, int]:
    """Nobody counts."""
    return {}


@dataclass(slots=True)
class Meter:
    """What a driver's workers count, once they are there."""

    read: Readings = nothing


def since(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    """What was added; without what was not."""
    return {name: added for name, count in now.items() if (added := count - before.get(name, 0))}
