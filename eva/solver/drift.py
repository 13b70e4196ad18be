"""How far a training may stray before the run is paused: what `collapse` is for batches, for optimiser steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stray:
    """A figure of an optimiser step that is beyond its bound."""

    figure: str
    value: float
    bound: float

    def __str__(self) -> str:
        key = "stop_gap" if self.figure == "gap" else "stop_kl"
        return f"{self.figure} is {self.value:.4g}, above training.{key}, which is {self.bound:g}"


def strays(values: Mapping[str, float], bounds: Mapping[str, float]) -> list[Stray]:
    """Returns the figures of a step that are beyond their bounds."""
    return [
        Stray(figure, values[figure], bound)
        for figure, bound in bounds.items()
        if figure in values and values[figure] > bound
    ]
