"""The progress of the checks of a new run: on a terminal a line that changes, in a log or pipe a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console

from cli.terminal.formats import duration
from cli.terminal.safe_text import printable

SHOWN_AFTER_S = 0.5
"""Checks that take less show nothing."""
LINE_S = 5.0
"""In a pipe or log, the time between two lines."""


@dataclass
class CheckProgress:
    """Takes what is checked, how many are done, and of how many; `show` gets lines at least `every_s` apart."""

    show: Callable[[str], object]
    every_s: float
    clock: Callable[[], float] = time.monotonic
    began: float = field(init=False)
    shown: float = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.shown = self.clock()

    def __call__(self, what: str, done: int, total: int | None) -> None:
        now = self.clock()
        if now - self.shown >= self.every_s:
            self.shown = now
            count = f"{done:,}" if total is None else f"{done:,} of {total:,}"
            self.show(f"[{duration(now - self.began)}] {count} {printable(what)}")


@contextmanager
def check_progress() -> Generator[CheckProgress]:
    """Shows the progress of checks on standard error: a dry run writes its config to standard output."""
    console = Console(stderr=True, highlight=False, markup=False)
    if not console.is_terminal or console.is_dumb_terminal:
        yield CheckProgress(console.print, LINE_S)
        return
    with console.status("checking the run") as status:
        yield CheckProgress(status.update, SHOWN_AFTER_S)
