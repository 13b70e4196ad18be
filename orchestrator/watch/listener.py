"""The interface through which the loop reports progress: to a terminal, to a log, or to nobody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Listener(Protocol):
    """Receives the progress of a run. Called on the driver's thread, so every method must be quick."""

    def on_stage_open(self, iteration: int, stage: str, done: int, total: int) -> None:
        """A stage starts, or continues where an earlier driver left it."""
        ...

    def on_progress(self, done: int, total: int, values: Mapping[str, float]) -> None:
        """The open stage has advanced; `values` are figures to show, such as those of a training step."""
        ...

    def on_stage_close(self, iteration: int, stage: str, counts: Mapping[str, object]) -> None:
        """The stage is complete and stored."""
        ...

    def on_message(self, text: str) -> None:
        """A message other than progress, in one sentence, such as that the database is away or back."""
        ...


class NoListener:
    """Ignores everything."""

    def on_stage_open(self, iteration: int, stage: str, done: int, total: int) -> None:
        del iteration, stage, done, total

    def on_progress(self, done: int, total: int, values: Mapping[str, float]) -> None:
        del done, total, values

    def on_stage_close(self, iteration: int, stage: str, counts: Mapping[str, object]) -> None:
        del iteration, stage, counts

    def on_message(self, text: str) -> None:
        del text
