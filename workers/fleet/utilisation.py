"""How much of the engines' time has work in it, as the fleet that feeds them sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class EngineTime:
    """Engines x time while the fleet is asked for answers: all of it, the part with a prompt in flight, and the share
    of the window of prompts that was in flight.

    It is the fleet's view: an engine with one prompt in flight counts as busy, whatever its device does.
    """

    def __init__(self) -> None:
        self._seconds = self._busy_s = self._filled_s = 0.0
        self._at: float | None = None

    def begin(self) -> None:
        """Time begins to count with the next `passed`."""
        self._at = None

    def passed(self, now: float, in_flight: Sequence[int], window: int) -> None:
        """So many prompts were in flight at each engine from the last call until now."""
        if self._at is not None:
            elapsed = now - self._at
            self._seconds += elapsed * len(in_flight)
            self._busy_s += elapsed * sum(prompts > 0 for prompts in in_flight)
            self._filled_s += elapsed * sum(min(1.0, prompts / window) for prompts in in_flight)
        self._at = now

    def readings(self) -> Mapping[str, int]:
        """In milliseconds. Another thread may ask."""
        return {
            "engine_ms": int(self._seconds * 1000),
            "engine_busy_ms": int(self._busy_s * 1000),
            "engine_filled_ms": int(self._filled_s * 1000),
        }
