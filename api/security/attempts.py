"""Failed tries of keys: an address that has made too many waits before another is looked at."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from api.problems import RefusedError

BURST = 10
REFILL_S = 3.0
MOST_ADDRESSES, MOST_KNOWN = 10_000, 1000


class Tries:
    """Each address has BURST failed tries, and one more every REFILL_S. Keys that were right before are not counted:
    who works from an address that guesses come from, too, works on."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._known: OrderedDict[bytes, None] = OrderedDict()

    def check(self, address: str, key: bytes) -> None:
        """Raises TooManyTriesError where the address must wait; `key` is a digest of the one that it tries."""
        with self._lock:
            left = self._refilled(address)
            if key in self._known or left >= 1:
                return
        raise TooManyTriesError(
            f"{address} has tried {BURST} keys or more that are none",
            expected=f"one try every {REFILL_S:g} seconds",
            next_move="Wait a while; use a valid key",
            headers={"Retry-After": str(max(1, round((1 - left) * REFILL_S)))},
        )

    def failed(self, address: str) -> None:
        """Count a failed try."""
        with self._lock:
            self._left[address] = (max(0.0, self._refilled(address) - 1), self._clock())
            self._left.move_to_end(address)
            while len(self._left) > MOST_ADDRESSES:
                self._left.popitem(last=False)

    def succeeded(self, key: bytes) -> None:
        """Remember a key that was right."""
        with self._lock:
            self._known[key] = None
            while len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)

    def _refilled(self, address: str) -> float:
        left, at = self._left.get(address, (float(BURST), self._clock()))
        return min(float(BURST), left + (self._clock() - at) / REFILL_S)


class TooManyTriesError(RefusedError):
    """Too many keys from this address were none."""

    status = 429
