"""Limits guessing: an address that has sent too many invalid keys must wait before another key is checked."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from api.problems import RefusedError

BURST = 10
REFILL_S = 3.0
MOST_ADDRESSES = 10_000


class FailedAttempts:
    """Allows each address BURST failed attempts, and one more every REFILL_S seconds.

    Only invalid keys are counted and refused: behind a proxy everybody has one address, and a valid key must work there
    while somebody else guesses.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, address: str) -> None:
        """Raises TooManyTriesError when the address must wait."""
        with self._lock:
            left = self._refilled(address)
            if left >= 1:
                return
        raise TooManyTriesError(
            f"{address} has sent too many invalid keys",
            expected=f"one attempt every {REFILL_S:g} seconds",
            next_move="Wait a while, then send a valid key",
            headers={"Retry-After": str(max(1, round((1 - left) * REFILL_S)))},
        )

    def record_failure(self, address: str) -> None:
        """Counts a failed attempt."""
        with self._lock:
            self._left[address] = (max(0.0, self._refilled(address) - 1), self._clock())
            self._left.move_to_end(address)
            while len(self._left) > MOST_ADDRESSES:
                self._left.popitem(last=False)

    def _refilled(self, address: str) -> float:
        left, at = self._left.get(address, (float(BURST), self._clock()))
        return min(float(BURST), left + (self._clock() - at) / REFILL_S)


class TooManyTriesError(RefusedError):
    """The address has sent too many invalid keys."""

    status = 429
