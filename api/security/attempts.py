"""Limits guessing: an address that has sent too many invalid keys must wait before another key is checked."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from api.problems import RefusedError

BURST = 10
REFILL_S = 3.0
MOST_ADDRESSES, MOST_KNOWN = 10_000, 1000


class FailedAttempts:
    """Allows each address BURST failed attempts, and one more every REFILL_S seconds.

    Keys that were valid before are always checked, so that a user can go on working at an address where somebody else
    guesses keys.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._known: OrderedDict[bytes, None] = OrderedDict()

    def check(self, address: str, key: bytes) -> None:
        """Raises TooManyTriesError when the address must wait. `key` is a digest of the key that it sent."""
        with self._lock:
            left = self._refilled(address)
            if key in self._known or left >= 1:
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

    def record_success(self, key: bytes) -> None:
        """Remembers a valid key."""
        with self._lock:
            self._known[key] = None
            while len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)

    def _refilled(self, address: str) -> float:
        left, at = self._left.get(address, (float(BURST), self._clock()))
        return min(float(BURST), left + (self._clock() - at) / REFILL_S)


class TooManyTriesError(RefusedError):
    """The address has sent too many invalid keys."""

    status = 429
