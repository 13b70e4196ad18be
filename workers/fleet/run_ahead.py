"""Runs a generator of results in a thread of its own, so that whoever takes them may pause without stopping it."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections import deque
from collections.abc import Generator
from typing import Generic, TypeVar

T = TypeVar("T")

END_S = 10.0
"""How long a caller that stops waits for the thread. A thread that a lost cluster blocks is left behind."""

log = logging.getLogger(__name__)


class _Results(Generic[T]):
    """What the thread has made and nobody has taken: at most `most`."""

    def __init__(self, source: Generator[T], most: int) -> None:
        self._source, self._most = source, most
        self._ready: deque[T] = deque()
        self._changed = threading.Condition()
        self._stopped = self._over = False
        self._error: BaseException | None = None

    def make(self) -> None:
        """The thread: makes results until there are no more, or nobody wants them."""
        try:
            for result in self._source:
                with self._changed:
                    self._ready.append(result)
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self._stopped or len(self._ready) < self._most)
                    if self._stopped:
                        break
        except BaseException as error:  # noqa: BLE001 - raised again where the results are taken
            self._error = error
        finally:
            self._end()

    def take(self) -> Generator[T]:
        """Yields the results, then raises the source's error, if any."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ready or self._over)  # bounded: by the source
                if not self._ready:
                    break
                result = self._ready.popleft()
                self._changed.notify_all()
            yield result
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _end(self) -> None:
        try:
            self._source.close()
        except BaseException as error:  # noqa: BLE001 - raised again where the results are taken
            self._error = self._error or error
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()


def run_ahead(source: Generator[T], most: int, name: str) -> Generator[T]:
    """Yields what `source` yields, and raises what it raises, while a thread runs it up to `most` results ahead.

    When the caller stops, the source is closed, by its own thread.
    """
    results = _Results(source, most)
    # the thread's log records say what those of the caller say
    thread = threading.Thread(target=contextvars.copy_context().run, args=(results.make,), name=name, daemon=True)
    thread.start()
    try:
        yield from results.take()
    finally:
        results.stop()
        thread.join(END_S)
        if thread.is_alive():
            log.warning("thread %s did not end within %.0f s and is left behind", name, END_S)
