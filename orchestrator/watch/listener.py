"""What the loop tells whoever watches it: a terminal, a log, nobody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Listener(Protocol):
    """Called on the driver's thread; must be quick."""

    def opened(self, iteration: int, stage: str, done: int, total: int) -> None:
        """A stage starts, or goes on where an earlier driver left it."""
        ...

    def advanced(self, done: int, total: int, values: Mapping[str, float]) -> None:
        """The open stage got further; `values` are figures worth showing (a training step's)."""
        ...

    def closed(self, iteration: int, stage: str, counts: Mapping[str, object]) -> None:
        """The stage is complete and stored."""
        ...

    def noted(self, text: str) -> None:
        """Something that is no progress, in one sentence: the database is away, or back."""
        ...


class NoListener:
    """Listens to nothing."""

    def opened(self, iteration: int, stage: str, done: int, total: int) -> None:
        del iteration, stage, done, total

    def advanced(self, done: int, total: int, values: Mapping[str, float]) -> None:
        del done, total, values

    def closed(self, iteration: int, stage: str, counts: Mapping[str, object]) -> None:
        del iteration, stage, counts

    def noted(self, text: str) -> None:
        del text
