"""Ctrl-C and SIGTERM end a driver between two transactions, never inside one.

A KeyboardInterrupt that lands in the middle of a database driver's protocol breaks the connection, and the clean
way out with it. So while the main thread talks to the database, an interrupt waits.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType


class _Interrupts:
    """Signal handlers belong to the process, so their state does too."""

    def __init__(self) -> None:
        self.shields = 0
        self.waiting = False

    def arrive(self, _signal: int, _frame: FrameType | None) -> None:
        if self.shields:
            self.waiting = True
        else:
            raise KeyboardInterrupt


_interrupts = _Interrupts()


@contextmanager
def interruptible() -> Generator[None]:
    """Within it Ctrl-C and SIGTERM, by which schedulers end a job, raise KeyboardInterrupt outside shields.

    Ray starts a job's process with SIGINT blocked, by which the lease and the watchdog reach its main thread, too.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _interrupts.arrive) for number in (signal.SIGINT, signal.SIGTERM)}
    blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, before)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for number, handler in before.items():
            signal.signal(number, handler)
        _interrupts.waiting = False


@contextmanager
def shielded() -> Generator[None]:
    """An interrupt that arrives within it is raised at its end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _interrupts.shields += 1
    try:
        yield
    finally:
        _interrupts.shields -= 1
        if _interrupts.waiting and not _interrupts.shields:
            _interrupts.waiting = False
            raise KeyboardInterrupt
