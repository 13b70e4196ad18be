"""Replaces dead engines: at once after the first death, after growing pauses when a slot keeps failing.

A lost machine costs its engines and nothing else: the others work on, and new ones wait until a machine has room.
"""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from eva.errors import EngineDiedError, NoRoomError
from eva.runtime.worker_reports import Incident, IncidentListener, ignore_incident

BACKOFF_MAX_S = 60.0
# What has just been released is granted to others after a moment, which is no lack of room.
GRANT_S = 10.0


class Replaceable(Protocol):
    """The part of `dispatch.Engines` that ends and starts engines."""

    @property
    def count(self) -> int: ...

    def end(self, slot: int) -> None:
        """Ends the engine. Its slot is empty until `replace`."""
        ...

    def replace(self, slot: int) -> None:
        """Starts an engine in an empty slot, as soon as a machine has room. `EngineReady` or `EngineLost` follows."""
        ...

    def missing_room(self, slot: int) -> str | None:
        """Returns what no machine has free for the slot's engine, or None if the engine has a place or was ended."""
        ...

    def now(self) -> float:
        """Returns the time of the engines' clock, seconds."""
        ...


class Recovery:
    """Tracks the slots without an engine, replaces their engines, and reports it.

    Args:
        restarts: replacements in a row in one slot, without a finished response in between, before the slot is given
            up. A machine that was lost does not count.
        backoff_s: pause before the second replacement in a row in one slot; it doubles with each further one.
        room_s: seconds without any engine, and without room for one, after which the stage ends.
    """

    def __init__(
        self,
        engines: Replaceable,
        *,
        restarts: int,
        backoff_s: float,
        room_s: float,
        notice: IncidentListener = ignore_incident,
    ) -> None:
        self._engines, self._restarts, self._notice = engines, restarts, notice
        self._backoff_s, self._room_s = backoff_s, room_s
        self._due: dict[int, float] = {}
        self._in_a_row: Counter[int] = Counter()
        self._lost_at: dict[int, float] = {}
        self._given_up: set[int] = set()
        self._roomless_since: dict[int, float] = {}
        self._told_of: frozenset[int] = frozenset()
        self._stranded_since: float | None = None

    @property
    def waiting(self) -> frozenset[int]:
        """The slots without an engine that could start: it is not due yet, has no room, or was given up."""
        return frozenset(self._due) | frozenset(self._roomless_since) | self._given_up

    @property
    def hopeless(self) -> frozenset[int]:
        """The slots that nothing but a new machine or a new stage can help."""
        return self._told_of | self._given_up

    def begin_stage(self) -> None:
        """Try the slots again that an earlier stage gave up."""
        self._in_a_row.clear()
        self._due.update(dict.fromkeys(self._given_up, self._engines.now()))
        self._given_up.clear()
        self._stranded_since = None

    def forget(self) -> None:
        """Forget the slots: all engines were ended on purpose."""
        self._due.clear()
        self._given_up.clear()
        self._in_a_row.clear()
        self._lost_at.clear()
        self._roomless_since.clear()
        self._told_of = frozenset()

    def lose(
        self, slot: int, reason: str, *, with_machine: bool = False, asked_again: int = 0, given_up: int = 0
    ) -> None:
        """Handle the loss of an engine: end it, schedule its replacement, report why.

        Raises EngineDiedError when this was the last slot that was not given up.
        """
        now = self._engines.now()
        self._engines.end(slot)
        self._roomless_since.pop(slot, None)
        self._in_a_row[slot] += not with_machine
        self._lost_at.setdefault(slot, now)
        numbers = {"slot": slot, "reason": reason, "asked_again": asked_again, "given_up": given_up}
        again = f"{asked_again} prompts are sent again" + (f", {given_up} given up" if given_up else "")
        if self._in_a_row[slot] > self._restarts:
            self._given_up.add(slot)
            text = f"engine {slot} is given up in this stage after {self._restarts} replacements in a row: {reason}"
            self._notice(Incident("engine_given_up", f"{text}; {again}", numbers))
            self._require_one(slot, reason)
            return
        pause_s = 0.0
        if self._in_a_row[slot] > 1:
            pause_s = min(BACKOFF_MAX_S, self._backoff_s * 2.0 ** (self._in_a_row[slot] - 2))
        self._due[slot] = now + pause_s
        text = f"engine {slot} is being replaced: {reason}; {again}"
        text += f", after a pause of {pause_s:.0f} s" if pause_s else ""
        self._notice(Incident("engine_lost", text, {**numbers, "pause_s": pause_s}))

    def act(self) -> None:
        """Starts the engines that are due. Raises NoRoomError after `room_s` without any engine or room for one."""
        now = self._engines.now()
        for slot in [slot for slot, due in self._due.items() if due <= now]:
            del self._due[slot]
            self._engines.replace(slot)
        missing: dict[int, str] = {}
        for slot in range(self._engines.count):
            if slot not in self._due and (reason := self._engines.missing_room(slot)) is not None:
                missing[slot] = reason
        self._roomless_since = {slot: self._roomless_since.get(slot, now) for slot in missing}
        self._tell_of({slot: missing[slot] for slot, since in self._roomless_since.items() if now - since >= GRANT_S})
        self._require_room(missing, now)

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

    def _tell_of(self, crowded: dict[int, str]) -> None:
        if news := sorted(crowded.keys() - self._told_of):
            reason = crowded[news[0]]
            self._notice(
                Incident("engine_waits", f"engines {news} wait for room: {reason}", {"slots": news, "reason": reason})
            )
        self._told_of = frozenset(crowded)

    def _require_one(self, slot: int, reason: str) -> None:
        if len(self._given_up) == self._engines.count:
            raise EngineDiedError(
                f"engine {slot}, the last one, died ({reason}) after {self._restarts} replacements in a row",
                expected=f"a response within {self._restarts} restarts of an engine (fleet.restarts)",
                next_move="Read the engines' logs, then resume the run",
            )

    def _require_room(self, missing: dict[int, str], now: float) -> None:
        if not missing or len(missing) + len(self._given_up) < self._engines.count:
            self._stranded_since = None
            return
        if self._stranded_since is None:
            self._stranded_since = now
        if (seconds := now - self._stranded_since) > self._room_s:
            raise NoRoomError(
                f"no engine runs, and no machine has had room for one for {seconds:.0f} s: {missing[min(missing)]}",
                expected="a machine in the cluster with enough resources for an engine (fleet.gpus_per_engine)",
                next_move="Add machines to the cluster or free some, then resume the run",
            )
