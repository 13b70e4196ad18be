"""Replaces dead engines: at once after the first death, after growing pauses when a slot keeps failing."""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from eva.errors import NoRoomError
from eva.runtime.worker_reports import Incident, IncidentListener, ignore_incident

BACKOFF_MAX_S = 60.0


class Replaceable(Protocol):
    """The part of `dispatch.Engines` that ends and starts engines."""

    @property
    def count(self) -> int: ...

    def end(self, slot: int) -> None:
        """End the engine. Its slot is empty until `replace`."""
        ...

    def replace(self, slot: int) -> None:
        """Start an engine in an empty slot. An `EngineReady` or `EngineLost` event follows."""
        ...

    def no_room(self) -> str | None:
        """Return why no machine can host another engine now, or None if one can."""
        ...

    def now(self) -> float:
        """Return the time of the engines' clock, seconds."""
        ...


class Recovery:
    """Tracks the empty slots, replaces their engines, and reports it.

    Args:
        backoff_s: pause before the second replacement in a row in one slot; it doubles with each further one.
        room_s: seconds without any engine, and without room for one, after which the stage fails.
    """

    def __init__(
        self, engines: Replaceable, *, backoff_s: float, room_s: float, notice: IncidentListener = ignore_incident
    ) -> None:
        self._engines, self._backoff_s, self._room_s, self._notice = engines, backoff_s, room_s, notice
        self._due: dict[int, float] = {}
        self._in_a_row: Counter[int] = Counter()
        self._lost_at: dict[int, float] = {}
        self._crowded = False
        self._stranded_since: float | None = None

    @property
    def waiting(self) -> frozenset[int]:
        """The empty slots."""
        return frozenset(self._due)

    @property
    def without_room(self) -> frozenset[int]:
        """The empty slots for which no machine has room."""
        return frozenset(self._due) if self._crowded else frozenset()

    def lose(self, slot: int, reason: str, *, asked_again: int = 0, given_up: int = 0) -> None:
        """Handle the loss of an engine: end it, schedule its replacement, report why."""
        now = self._engines.now()
        self._engines.end(slot)
        self._in_a_row[slot] += 1
        pause_s = 0.0
        if self._in_a_row[slot] > 1:
            pause_s = min(BACKOFF_MAX_S, self._backoff_s * 2.0 ** (self._in_a_row[slot] - 2))
        self._due[slot] = now + pause_s
        self._lost_at.setdefault(slot, now)
        text = f"engine {slot} is being replaced: {reason}; {asked_again} prompts are sent again"
        text += f", {given_up} given up" if given_up else ""
        text += f", after a pause of {pause_s:.0f} s" if pause_s else ""
        self._notice(
            Incident(
                "engine_lost",
                text,
                {"slot": slot, "reason": reason, "asked_again": asked_again, "given_up": given_up, "pause_s": pause_s},
            )
        )

    def act(self) -> None:
        """Start the engines that are due. Raises NoRoomError after `room_s` without any engine or room for one."""
        now = self._engines.now()
        for slot in [slot for slot, due in self._due.items() if due <= now]:
            if (crowding := self._engines.no_room()) is not None:
                self._wait_for_room(crowding, now)
                return
            self._crowded, self._stranded_since = False, None
            del self._due[slot]
            self._engines.replace(slot)

    def ready(self, slot: int) -> None:
        """Record that an engine serves; its canary proves it."""
        lost_at = self._lost_at.pop(slot, None)
        if lost_at is not None:
            seconds = self._engines.now() - lost_at
            self._notice(
                Incident(
                    "engine_back",
                    f"engine {slot} serves again after {seconds:.0f} s",
                    {"slot": slot, "seconds": round(seconds, 3)},
                )
            )

    def answered(self, slot: int) -> None:
        """Record that an engine finished something, so that its next death counts as the first in a row."""
        self._in_a_row.pop(slot, None)

    def _wait_for_room(self, crowding: str, now: float) -> None:
        if not self._crowded:
            self._crowded = True
            waiting = sorted(self._due)
            self._notice(
                Incident(
                    "engine_waits",
                    f"engines {waiting} wait for room: {crowding}",
                    {"slots": waiting, "reason": crowding},
                )
            )
        if len(self._due) < self._engines.count:
            self._stranded_since = None
            return
        if self._stranded_since is None:
            self._stranded_since = now
        if (seconds := now - self._stranded_since) > self._room_s:
            raise NoRoomError(
                f"no engine runs, and no machine has had room for one for {seconds:.0f} s: {crowding}",
                expected="a machine in the cluster with enough resources for an engine (fleet.gpus_per_engine)",
                next_move="Add machines to the cluster or free some, then resume the run",
            )
