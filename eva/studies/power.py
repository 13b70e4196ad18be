"""What a study could have shown: the smallest difference within its reach, and how often its intervals are right."""

from __future__ import annotations

import math
from dataclasses import dataclass

from eva.measures.statistics import wilson
from eva.studies.comparison import LEVEL, Spread
from eva.studies.distributions import shift_with

POWER = 0.8


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many intervals cover the value that is known to be right, and the 95 % interval of that share."""

    covered: int
    total: int
    low: float
    high: float


def smallest_difference(error: float, degrees: float, power: float = POWER, level: float = LEVEL) -> float:
    """Returns the smallest true difference that a study with this standard error finds with this power."""
    return error * shift_with(power, degrees, level)


def detectable(measured: Spread) -> float | None:
    """Returns the smallest difference that a comparison could have shown, or None with a single seed."""
    if measured.error is None or measured.degrees is None:
        return None
    return smallest_difference(measured.error, measured.degrees)


def planned(deviation: float, seeds: int) -> float:
    """Returns the smallest difference that so many seeds will show, if the difference has this deviation over seeds."""
    if seeds < 2:
        raise ValueError("at least two seeds are needed")
    return smallest_difference(deviation / math.sqrt(seeds), seeds - 1)


def coverage(intervals: list[tuple[float, float]], truth: float = 0.0) -> Coverage:
    """Returns how many intervals cover the truth; that of a comparison of an arm with itself (A/A) is zero."""
    covered = sum(low <= truth <= high for low, high in intervals)
    return Coverage(covered, len(intervals), *wilson(covered, len(intervals)))
