"""Pull-based dispatch: which engine is asked what, and what happens to prompts whose engine dies.

Nothing here knows Ray, vLLM or a clock: `Ledger` is the bookkeeping, `dispatch` drives it over anything
that behaves like `Engines`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from eva.errors import EngineDiedError
from eva.runtime.failpoints import reach
from eva.runtime.worker_reports import WorkerStatus, describe_in_flight
from eva.types import PromptResponses, Request
from workers.fleet.recovery import Recovery, Replaceable
from workers.fleet.utilisation import EngineTime

Task = tuple[int, Request]
# An engine that crashes under one prompt takes the others in flight with it; a prompt present at this many
# deaths, the last one alone, is taken to be the cause.
POISON_DEATHS = 3
# Calls kept queued at an engine: while one runs the next waits there, so the engine never waits for us.
CALLS_AHEAD = 2
POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class Worked:
    """One call of an engine came back with what had finished (perhaps nothing)."""

    slot: int
    answers: Sequence[tuple[int, PromptResponses]]


@dataclass(frozen=True, slots=True)
class Died:
    """An engine is gone, or its start failed."""

    slot: int
    reason: str


@dataclass(frozen=True, slots=True)
class Ready:
    """A replaced engine serves the policy, proven by its canary."""

    slot: int


Event = Worked | Died | Ready


class Engines(Replaceable, Protocol):
    """The engines, by slot 0 .. `count` - 1."""

    def serving(self, slot: int) -> bool:
        """Whether the engine can be sent calls now."""
        ...

    def send(self, slot: int, tasks: Sequence[Task]) -> None:
        """Queue one call behind those that the engine has; it also goes on with what it was given before."""
        ...

    def queued(self, slot: int) -> int:
        """Calls sent and not yet back."""
        ...

    def receive(self, timeout_s: float) -> list[Event]:
        """What has happened; waits for the first event, `timeout_s` at most."""
        ...

    def forget(self, slot: int) -> None:
        """Drop what the engine has in flight, the calls that are queued included."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """`window`: prompts in flight per engine. `restarts`: replacements before it is given up.

    `stall_s`: an engine that finishes nothing for so long is replaced; `start_s`: the same for one that starts.
    `backoff_s`: see `Recovery`.
    """

    window: int
    restarts: int
    stall_s: float
    start_s: float = 900.0
    backoff_s: float = 1.0


@dataclass(slots=True)
class Ledger:
    """Who has what. Every request taken from `source` is answered exactly once."""

    source: Iterator[Request]
    slots: int
    limits: Limits
    open: set[int]
    replaced: int = 0
    _in_flight: list[dict[int, Request]] = field(init=False)
    _silent_s: list[float] = field(init=False)
    _again: deque[Task] = field(default_factory=deque[Task])
    _suspects: deque[Task] = field(default_factory=deque[Task])
    _deaths: dict[int, int] = field(default_factory=dict[int, int])
    _alone: set[int] = field(default_factory=set[int])
    _tickets: int = 0
    _exhausted: bool = False

    def __post_init__(self) -> None:
        self._in_flight = [{} for _ in range(self.slots)]
        self._silent_s = [0.0] * self.slots

    @property
    def done(self) -> bool:
        return self._exhausted and not (self._again or self._suspects or any(self._in_flight))

    def busy(self) -> list[int]:
        """Slots whose engine has prompts in flight."""
        return [slot for slot in sorted(self.open) if self._in_flight[slot]]

    def fill(self) -> dict[int, list[Task]]:
        """Give out as much as the windows hold, one prompt at a time to the engine with the fewest."""
        given: dict[int, list[Task]] = {}
        while (slot := self._roomiest(self.limits.window)) is not None and (task := self._next()) is not None:
            self._hand(slot, task, given)
        while self._suspects and (slot := self._roomiest(1)) is not None:
            self._alone.add(slot)
            self._hand(slot, self._suspects.popleft(), given)
        return given

    def finish(self, slot: int, answers: Sequence[tuple[int, PromptResponses]]) -> list[PromptResponses]:
        """Answers that were still awaited from this engine."""
        awaited = self._in_flight[slot]
        known = [answered for ticket, answered in answers if awaited.pop(ticket, None) is not None]
        for ticket, _ in answers:
            self._deaths.pop(ticket, None)
        if known:
            self._silent_s[slot] = 0.0
        if not awaited:
            self._alone.discard(slot)
        return known

    def lose(self, slot: int, reason: str) -> tuple[list[PromptResponses], int]:
        """The engine died: the prompt given up because it kills engines, and how many are asked again."""
        lost, self._in_flight[slot] = self._in_flight[slot], {}
        self.open.discard(slot)
        self._alone.discard(slot)
        self._silent_s[slot] = 0.0
        condemned = [
            answered
            for ticket, request in reversed(lost.items())
            if (answered := self._after_death(ticket, request, reason)) is not None
        ]
        return condemned, len(lost) - len(condemned)

    def count_replacement(self, slot: int, reason: str) -> None:
        """Raises EngineDiedError when the replacements are used up."""
        if self.replaced >= self.limits.restarts:
            raise EngineDiedError(
                f"engine {slot} died ({reason}) after {self.replaced} replacements in this stage",
                expected=f"at most {self.limits.restarts} (fleet.restarts)",
                next_move="Read the engines' logs, then resume the run",
            )
        self.replaced += 1

    def ready(self, slot: int) -> None:
        """A replaced engine can be asked."""
        self.open.add(slot)
        self._silent_s[slot] = 0.0

    def wait(self, seconds: float, empty: frozenset[int] = frozenset()) -> None:
        """So long we have waited for events. A slow caller's time is not counted, so it makes no engine look dead.

        `empty` slots have no engine that could be silent.
        """
        for slot in range(self.slots):
            idle = slot in empty or (slot in self.open and not self._in_flight[slot])
            self._silent_s[slot] = 0.0 if idle else self._silent_s[slot] + seconds

    def stalled(self) -> dict[int, float]:
        """Engines that finished nothing, or did not start, for longer than allowed: slot -> seconds."""
        return {
            slot: silence
            for slot, silence in enumerate(self._silent_s)
            if silence > (self.limits.stall_s if slot in self.open else self.limits.start_s)
        }

    def pass_time(self, time: EngineTime, now: float) -> None:
        """Until now, each engine had in flight what it has."""
        time.passed(now, [len(flight) for flight in self._in_flight], self.limits.window)

    def at_work(self) -> list[WorkerStatus]:
        """What each engine has in hand. Another thread may ask."""
        found: list[WorkerStatus] = []
        for slot in range(self.slots):
            prompts = sorted(request.number for request in tuple(self._in_flight[slot].values()))
            has = describe_in_flight(prompts) if slot in self.open else "not serving"
            found.append(WorkerStatus(f"engine {slot}", has, self._silent_s[slot]))
        return found

    def _roomiest(self, window: int) -> int | None:
        candidates = [(len(self._in_flight[slot]), slot) for slot in self.open - self._alone]
        fewest, slot = min(candidates, default=(window, 0))
        return slot if fewest < window else None

    def _next(self) -> Task | None:
        if self._again:
            return self._again.popleft()
        if self._exhausted or (request := next(self.source, None)) is None:
            self._exhausted = True
            return None
        self._tickets += 1
        return self._tickets, request

    def _hand(self, slot: int, task: Task, given: dict[int, list[Task]]) -> None:
        self._in_flight[slot][task[0]] = task[1]
        given.setdefault(slot, []).append(task)

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


def dispatch(requests: Iterable[Request], engines: Engines, limits: Limits) -> Generator[PromptResponses, None, None]:
    """`work_off` with bookkeeping of its own."""
    recovery = Recovery(engines, backoff_s=limits.backoff_s, room_s=limits.start_s)
    yield from work_off(ledger_of(requests, engines, limits), engines, recovery, EngineTime())


def ledger_of(requests: Iterable[Request], engines: Engines, limits: Limits) -> Ledger:
    """The bookkeeping of these requests, none of them handed out yet."""
    serving = {slot for slot in range(engines.count) if engines.serving(slot)}
    return Ledger(iter(requests), engines.count, limits, serving)


def work_off(
    ledger: Ledger, engines: Engines, recovery: Recovery, time: EngineTime
) -> Generator[PromptResponses, None, None]:
    """Answer every request once, in the order in which engines finish; `time` counts what passes meanwhile.

    Raises EngineDiedError when replacements are used up, NoRoomError when no machine can host an engine. What is
    in flight when the caller stops is dropped.
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
                yield from _settle(Died(slot, f"it finished nothing for {silence:.0f} s"), ledger, recovery)
    finally:
        for slot in ledger.busy():
            engines.forget(slot)


def _feed(ledger: Ledger, engines: Engines) -> None:
    for slot, tasks in ledger.fill().items():
        engines.send(slot, tasks)
        reach("dispatch.sent")
    for slot in ledger.busy():
        while engines.queued(slot) < CALLS_AHEAD:
            engines.send(slot, ())


def _settle(event: Event, ledger: Ledger, recovery: Recovery) -> list[PromptResponses]:
    match event:
        case Worked(slot, answers):
            reach("dispatch.received")
            if known := ledger.finish(slot, answers):
                recovery.answered(slot)
            return known
        case Died(slot, reason):
            condemned, again = ledger.lose(slot, reason)
            recovery.lose(slot, reason, asked_again=again, given_up=len(condemned))
            ledger.count_replacement(slot, reason)
            return condemned
        case Ready(slot):
            recovery.ready(slot)
            ledger.ready(slot)
            return []
