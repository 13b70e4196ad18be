"""A thread that stores a stage's results while the stage goes on."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable

Write = Callable[[threading.Event], None]
"""Stores something, and raises what keeps it from being stored. Once the event is set, it tries for seconds only."""


class BatchWriter:
    """Makes one write at a time. What a write raises is raised in the stage's thread, at its next call.

    The thread starts with the first write and ends with `end`.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()
        self._write: Write | None = None
        self._hurry = threading.Event()
        self._ended = False
        self._error: BaseException | None = None

    @property
    def busy(self) -> bool:
        """Whether a write is being made. Raises what the last write has raised."""
        with self._changed:
            self._raise_error()
            return self._write is not None

    def put(self, write: Write) -> None:
        """Has the write made, once the one before is. Raises what that one has raised."""
        self.drain()
        if self._thread is None:
            # its log records say what those of the stage say
            run = contextvars.copy_context().run
            self._thread = threading.Thread(target=run, args=(self._make_writes,), name=self._name, daemon=True)
            self._thread.start()
        with self._changed:
            self._write = write
            self._changed.notify_all()

    def drain(self) -> None:
        """Waits until every write is made. Raises what one has raised."""
        with self._changed:
            self._changed.wait_for(lambda: self._write is None)  # bounded: by the retries of the write
            self._raise_error()

    def end(self) -> BaseException | None:
        """Ends the thread: a write that is being made gets seconds. Returns the error that nobody has seen, if any."""
        self._hurry.set()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()  # bounded: the write is in a hurry
        error, self._error = self._error, None
        return error

    def _make_writes(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._write is not None or self._ended)
                write = self._write
            if write is None:
                return
            error: BaseException | None = None
            try:
                write(self._hurry)
            except BaseException as raised:  # noqa: BLE001 - raised again in the stage's thread
                error = raised
            with self._changed:
                self._write, self._error = None, error
                self._changed.notify_all()

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error
