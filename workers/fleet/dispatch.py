"""Pull-based dispatch: which engine gets which prompt, and what happens to prompts whose engine dies.

Independent of Ray, vLLM and the clock: `Ledger` is the bookkeeping, `dispatch` runs it over any `Engines`.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from eva.runtime.failpoints import reach
from eva.runtime.worker_reports import WorkerStatus, describe_in_flight
from eva.types import PromptResponses, Request
from workers.fleet.recovery import Recovery, Replaceable

Task = tuple[int, Request]
# An engine that crashes on one prompt loses the others in flight too. A prompt that was in flight at this many
# crashes, at the last one alone, is taken to be the cause.
POISON_DEATHS = 3
# Sequences in flight for each that an engine works on at once, unless the config says how many prompts: what waits in
# the engine takes the place of what has finished, however late the driver hears of it.
SEQUENCES_AHEAD = 2
POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class EngineResults:
    """One poll of an engine returned with the responses that were finished, perhaps none."""

    slot: int
    results: Sequence[tuple[int, PromptResponses]]


@dataclass(frozen=True, slots=True)
class EngineLost:
    """An engine died, or failed to start. `with_machine`: its machine was lost, so nothing else is to blame."""

    slot: int
    reason: str
    with_machine: bool = False


@dataclass(frozen=True, slots=True)
class EngineReady:
    """A new engine serves the policy; its canary proves it."""

    slot: int


Event = EngineResults | EngineLost | EngineReady


class Engines(Replaceable, Protocol):
    """The engines, in slots 0 to `count` - 1."""

    def serving(self, slot: int) -> bool:
        """Whether the engine accepts requests now."""
        ...

    def sequences(self, slot: int) -> int:
        """How many sequences the engine works on at once, once it serves."""
        ...

    def submit(self, slot: int, tasks: Sequence[Task]) -> None:
        """Give the engine requests. It works on them until they are finished, whatever the caller does."""
        ...

    def poll(self, slot: int) -> None:
        """Ask the engine for what it finishes, unless it is asked already. `receive` returns it."""
        ...

    def busy(self, slot: int) -> bool:
        """Whether the engine is asked for something that has not returned."""
        ...

    def receive(self, timeout_s: float) -> list[Event]:
        """Returns the events since the last call; waits up to `timeout_s` for the first one."""
        ...

    def forget(self, slot: int) -> None:
        """Drop everything that the engine has in flight."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a fleet.

    Args:
        window: prompts in flight per engine; None: as many as have `SEQUENCES_AHEAD` times the sequences that the
            engine works on at once.
        restarts: see `Recovery`.
        stall_s: seconds after which an engine that finishes nothing is replaced.
        start_s: seconds after which an engine that does not start is replaced.
        backoff_s: see `Recovery`.
    """

    window: int | None
    restarts: int
    stall_s: float
    start_s: float = 900.0
    backoff_s: float = 1.0


class EngineTime:
    """Engine time while the fleet generates: in total, with a prompt in flight, and weighted by how full the window is.

    This is the fleet's view: an engine with one prompt in flight counts as busy, whatever its device does.
    """

    def __init__(self) -> None:
        self._seconds = self._busy_s = self._filled_s = 0.0
        self._at: float | None = None

    def begin(self) -> None:
        """Starts counting at the next `passed`."""
        self._at = None

    def passed(self, now: float, filled: Sequence[float]) -> None:
        """Counts the time since the last call, during which each engine's window was filled to this share."""
        if self._at is not None:
            elapsed = now - self._at
            self._seconds += elapsed * len(filled)
            self._busy_s += elapsed * sum(share > 0 for share in filled)
            self._filled_s += elapsed * sum(min(1.0, share) for share in filled)
        self._at = now

    def readings(self) -> Mapping[str, int]:
        """Returns the times in milliseconds. Safe to call from another thread."""
        return {
            "engine_ms": int(self._seconds * 1000),
            "engine_busy_ms": int(self._busy_s * 1000),
            "engine_filled_ms": int(self._filled_s * 1000),
        }


@dataclass(slots=True)
class Ledger:
    """The bookkeeping: which engine has which request. Every request from `source` is answered exactly once.

    `sequences`: how many an engine works on at once.
    """

    source: Iterator[Request]
    slots: int
    limits: Limits
    open: set[int]
    sequences: Callable[[int], int]
    _in_flight: list[dict[int, Request]] = field(init=False)
    _sequences_in_flight: list[int] = field(init=False)
    _silent_s: list[float] = field(init=False)
    _again: deque[Task] = field(default_factory=deque[Task])
    _suspects: deque[Task] = field(default_factory=deque[Task])
    _deaths: dict[int, int] = field(default_factory=dict[int, int])
    _alone: set[int] = field(default_factory=set[int])
    _exhausted: bool = False

    def __post_init__(self) -> None:
        self._in_flight = [{} for _ in range(self.slots)]
        self._sequences_in_flight = [0] * self.slots
        self._silent_s = [0.0] * self.slots

    @property
    def done(self) -> bool:
        return self._exhausted and not (self._again or self._suspects or any(self._in_flight))

    def busy(self) -> list[int]:
        """Returns the slots whose engine has prompts in flight."""
        return [slot for slot in sorted(self.open) if self._in_flight[slot]]

    def fill(self) -> dict[int, list[Task]]:
        """Assign prompts until all windows are full, each to the engine with the fewest. Return them by slot."""
        assigned: dict[int, list[Task]] = {}
        while (slot := self._emptiest()) is not None and (task := self._next()) is not None:
            self._assign(slot, task, assigned)
        while self._suspects and (slot := self._idle()) is not None:
            self._alone.add(slot)
            self._assign(slot, self._suspects.popleft(), assigned)
        return assigned

    def finish(self, slot: int, results: Sequence[tuple[int, PromptResponses]]) -> list[PromptResponses]:
        """Record what an engine finished. Return the results that it still owed; late duplicates are dropped."""
        awaited = self._in_flight[slot]
        owed: list[PromptResponses] = []
        for ticket, result in results:
            if (request := awaited.pop(ticket, None)) is not None:
                self._sequences_in_flight[slot] -= request.sequences
                owed.append(result)
        for ticket, _ in results:
            self._deaths.pop(ticket, None)
        if owed:
            self._silent_s[slot] = 0.0
        if not awaited:
            self._alone.discard(slot)
        return owed

    def lose(self, slot: int, reason: str, *, with_machine: bool = False) -> tuple[list[PromptResponses], int]:
        """Record that an engine died. Return failed prompts that kill engines, and the number of prompts sent again.

        `with_machine`: the prompts had no part in it.
        """
        lost, self._in_flight[slot] = self._in_flight[slot], {}
        self._sequences_in_flight[slot] = 0
        self.open.discard(slot)
        self._alone.discard(slot)
        self._silent_s[slot] = 0.0
        if with_machine:
            self._again.extendleft(reversed(lost.items()))
            return [], len(lost)
        failed = [
            result
            for ticket, request in reversed(lost.items())
            if (result := self._after_death(ticket, request, reason)) is not None
        ]
        return failed, len(lost) - len(failed)

    def ready(self, slot: int) -> None:
        """Record that a new engine accepts calls."""
        self.open.add(slot)
        self._silent_s[slot] = 0.0

    def wait(self, seconds: float, empty: frozenset[int] = frozenset()) -> None:
        """Counts seconds of waiting for events. The time of a slow caller is left out, as no engine is to blame for it.

        `empty`: slots without an engine that could start.
        """
        for slot in range(self.slots):
            idle = slot in empty or (slot in self.open and not self._in_flight[slot])
            self._silent_s[slot] = 0.0 if idle else self._silent_s[slot] + seconds

    def stalled(self) -> dict[int, float]:
        """Returns the engines that finished nothing, or did not start, for too long: slot -> seconds."""
        return {
            slot: silence
            for slot, silence in enumerate(self._silent_s)
            if silence > (self.limits.stall_s if slot in self.open else self.limits.start_s)
        }

    def pass_time(self, time: EngineTime, now: float) -> None:
        """Counts the time until `now` with the prompts that are in flight."""
        time.passed(now, [self._filled(slot) for slot in range(self.slots)])

    def at_work(self) -> list[WorkerStatus]:
        """Returns what each engine is working on. Safe to call from another thread."""
        statuses: list[WorkerStatus] = []
        for slot in range(self.slots):
            prompts = sorted(request.number for request in tuple(self._in_flight[slot].values()))
            work = describe_in_flight(prompts) if slot in self.open else "not serving"
            statuses.append(WorkerStatus(f"engine {slot}", work, self._silent_s[slot]))
        return statuses

    def _emptiest(self) -> int | None:
        """The open slot whose window is filled least, and not full."""
        share, slot = min(((self._filled(slot), slot) for slot in self.open - self._alone), default=(1.0, 0))
        return slot if share < 1 else None

    def _idle(self) -> int | None:
        return next((slot for slot in sorted(self.open - self._alone) if not self._in_flight[slot]), None)

    def _filled(self, slot: int) -> float:
        """The share of the engine's window that is in flight."""
        if self.limits.window is not None:
            return len(self._in_flight[slot]) / self.limits.window
        return self._sequences_in_flight[slot] / max(1, SEQUENCES_AHEAD * self.sequences(slot))

    def _next(self) -> Task | None:
        if self._again:
            return self._again.popleft()
        if self._exhausted or (request := next(self.source, None)) is None:
            self._exhausted = True
            return None
        return next(_TICKETS), request

    def _assign(self, slot: int, task: Task, assigned: dict[int, list[Task]]) -> None:
        self._in_flight[slot][task[0]] = task[1]
        self._sequences_in_flight[slot] += task[1].sequences
        assigned.setdefault(slot, []).append(task)

    def _after_death(self, ticket: int, request: Request, reason: str) -> PromptResponses | None:
        deaths = self._deaths[ticket] = self._deaths.get(ticket, 0) + 1
        if deaths >= POISON_DEATHS:
            why = f"{deaths} engines died while answering this prompt, the last time alone: {reason}"
            return PromptResponses(request.number, request.text, (), failure=why)
        if deaths == POISON_DEATHS - 1:
            self._suspects.append((ticket, request))
        else:
            self._again.appendleft((ticket, request))
        return None


_TICKETS = itertools.count(1)
"""Each ticket of this process is another one, so that a late result of an earlier stage is taken for no new one."""


def dispatch(requests: Iterable[Request], engines: Engines, limits: Limits) -> Generator[PromptResponses, None, None]:
    """`run_requests` with its own ledger."""
    recovery = Recovery(engines, restarts=limits.restarts, backoff_s=limits.backoff_s, room_s=limits.start_s)
    yield from run_requests(new_ledger(requests, engines, limits), engines, recovery, EngineTime())


def new_ledger(requests: Iterable[Request], engines: Engines, limits: Limits) -> Ledger:
    """Returns a ledger of these requests, none of them assigned."""
    serving = {slot for slot in range(engines.count) if engines.serving(slot)}
    return Ledger(iter(requests), engines.count, limits, serving, engines.sequences)


def run_requests(
    ledger: Ledger, engines: Engines, recovery: Recovery, time: EngineTime
) -> Generator[PromptResponses, None, None]:
    """Yield one result per request, in the order in which engines finish. `time` counts the engines' time.

    When the caller stops, requests in flight are dropped. Raises EngineDiedError when every engine was given up,
    NoRoomError when no machine can host an engine.
    """
    try:
        while True:
            ledger.pass_time(time, engines.now())
            recovery.act()
            _feed(ledger, engines)
            if ledger.done:
                return
            began = engines.now()
            events = engines.receive(POLL_S)
            ledger.pass_time(time, engines.now())
            ledger.wait(engines.now() - began, recovery.waiting)
            for event in events:
                yield from _settle(event, ledger, recovery)
            for slot, silence in ledger.stalled().items():
                yield from _settle(EngineLost(slot, f"it finished nothing for {silence:.0f} s"), ledger, recovery)
    finally:
        for slot in ledger.busy():
            engines.forget(slot)


def _feed(ledger: Ledger, engines: Engines) -> None:
    for slot, tasks in ledger.fill().items():
        engines.submit(slot, tasks)
        reach("dispatch.sent")
    for slot in ledger.busy():
        engines.poll(slot)


def _settle(event: Event, ledger: Ledger, recovery: Recovery) -> list[PromptResponses]:
    match event:
        case EngineResults(slot, results):
            reach("dispatch.received")
            if owed := ledger.finish(slot, results):
                recovery.answered(slot)
            return owed
        case EngineLost(slot, reason, with_machine):
            failed, again = ledger.lose(slot, reason, with_machine=with_machine)
            recovery.lose(slot, reason, with_machine=with_machine, asked_again=again, given_up=len(failed))
            return failed
        case EngineReady(slot):
            recovery.ready(slot)
            ledger.ready(slot)
            return []
