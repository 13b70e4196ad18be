"""Delays Ctrl-C, SIGTERM and SIGHUP, so that they end a driver between two transactions, never inside one.

A KeyboardInterrupt in the middle of the database protocol breaks the connection, and with it the clean shutdown. So
while the main thread talks to the database, an interrupt waits.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType


class _Interrupts:
    """The state of the signal handlers; there is one, because handlers belong to the process."""

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
def interrupt_handlers() -> Generator[None]:
    """Makes the signals that end a driver raise KeyboardInterrupt outside `interrupt_shield`.

    These are Ctrl-C, SIGTERM, which schedulers send, and SIGHUP, which a terminal sends when it is closed (`nohup` has
    that ignored, and it stays so).

    Unblocks SIGINT, which Ray blocks in a job's process: the lease and the watchdog use it to reach the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ending = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        ending.append(signal.SIGHUP)
    before = {number: signal.signal(number, _interrupts.arrive) for number in ending}
    blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, before)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for number, handler in before.items():
            signal.signal(number, handler)
        _interrupts.waiting = False


@contextmanager
def interrupt_shield() -> Generator[None]:
    """Holds interrupts back until the block ends."""
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
