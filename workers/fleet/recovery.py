"""Dead engines come back: at once after a first death, later and later after deaths in a row, where there is room."""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from eva.errors import NoRoomError
from eva.runtime.worker_reports import Incident, IncidentListener, ignore_incident

BACKOFF_MAX_S = 60.0


class Replaceable(Protocol):
    """The part of `dispatch.Engines` that ends engines and starts others."""

    @property
    def count(self) -> int: ...

    def end(self, slot: int) -> None:
        """End the engine: its slot is empty until `replace`."""
        ...

    def replace(self, slot: int) -> None:
        """Start an engine in an empty slot; a `Ready` or `Died` event follows."""
        ...

    def no_room(self) -> str | None:
        """Why no machine can take another engine now; None where one can."""
        ...

    def now(self) -> float:
        """Seconds by the engines' clock."""
        ...


class Recovery:
    """Which slots wait for another engine, since when, and what is told of it.

    Args:
        backoff_s: pause before the second replacement in a row of one slot; doubled with each further one.
        room_s: seconds without any engine, and without room for one, after which the stage cannot go on.
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
        """Slots that are empty."""
        return frozenset(self._due)

    @property
    def crowded(self) -> frozenset[int]:
        """Slots that are empty because no machine takes their engine."""
        return frozenset(self._due) if self._crowded else frozenset()

    def lose(self, slot: int, reason: str, *, asked_again: int = 0, given_up: int = 0) -> None:
        """The engine is dead, or as good as dead: end it, plan another, tell why."""
        now = self._engines.now()
        self._engines.end(slot)
        self._in_a_row[slot] += 1
        pause_s = 0.0
        if self._in_a_row[slot] > 1:
            pause_s = min(BACKOFF_MAX_S, self._backoff_s * 2.0 ** (self._in_a_row[slot] - 2))
        self._due[slot] = now + pause_s
        self._lost_at.setdefault(slot, now)
        text = f"engine {slot} is replaced: {reason}; {asked_again} prompts are asked again"
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
        """Start the engines that are due. Raises NoRoomError when there is none, nor room, for long."""
        now = self._engines.now()
        for slot in [slot for slot, due in self._due.items() if due <= now]:
            if (crowding := self._engines.no_room()) is not None:
                self._wait_for_room(crowding, now)
                return
            self._crowded, self._stranded_since = False, None
            del self._due[slot]
            self._engines.replace(slot)

    def ready(self, slot: int) -> None:
        """The engine serves, proven by its canary."""
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
        """The engine finished something: its next death is a first one."""
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
                f"there is no engine, and for {seconds:.0f} s no machine had room for one: {crowding}",
                expected="a machine of the cluster with what an engine needs (fleet.gpus_per_engine)",
                next_move="Join machines to the cluster, or free them; then resume the run",
            )
