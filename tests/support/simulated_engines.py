"""Engines in simulated time: the same calls as real ones, no processes, no waiting; they can die and hang."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from eva import seeds
from eva.types import PromptResponses, Request, Response
from workers.fleet.dispatch import EngineLost, EngineReady, EngineResults, Event, Task
from workers.fleet.engine import PATIENCE_S, QUANTUM_S
from workers.fleet.engine_actors import ServingTarget


def skewed_length(request: Request) -> int:
    """Tokens of a response: most are short, some very long (log-normal), fixed by the prompt's number."""
    return max(1, min(1024, int(seeds.generator(7, request.number).lognormvariate(4.0, 1.0))))


def answer_of(request: Request) -> PromptResponses:
    """What any engine answers: it depends on the request alone."""
    made = tuple(
        Response(
            request.first + i,
            f"{request.number}:{request.seed + request.first + i}",
            "stop",
            1,
            request.seed + request.first + i,
        )
        for i in range(request.n)
    )
    return PromptResponses(request.number, request.text, made)


@dataclass(frozen=True, slots=True)
class Speed:
    """A step makes one token for each of up to `batch` prompts and takes `base_s` + `each_s` per prompt."""

    batch: int = 48
    base_s: float = 0.010
    each_s: float = 0.0002


@dataclass(slots=True)
class SimulatedEngine:
    """One engine with continuous batching. It jumps from one finished prompt to the next, not token by token."""

    speed: Speed
    length_of: Callable[[Request], int]
    time: float = 0.0
    waiting: deque[Task] = field(default_factory=deque[Task])
    running: list[tuple[int, int, Request]] = field(default_factory=list[tuple[int, int, Request]])
    steps: int = 0
    polled: bool = False

    def submit(self, tasks: Sequence[Task], now: float) -> None:
        """Adds requests. An engine that had none begins now; one at work is not held up by when they arrive."""
        if not (self.waiting or self.running):
            self.time = max(self.time, now)
        self.waiting.extend(tasks)

    def poll(self) -> list[Task]:
        """Works until the poll returns."""
        began, done = self.time, list[Task]()
        self.polled = False
        while self.waiting or self.running:
            done += self._advance(began + (QUANTUM_S if done else PATIENCE_S))
            if self.time - began >= (QUANTUM_S if done else PATIENCE_S):
                break
        return done

    def in_flight(self) -> list[Request]:
        return [request for _, _, request in self.running] + [request for _, request in self.waiting]

    def _advance(self, until: float) -> list[Task]:
        while self.waiting and len(self.running) < self.speed.batch:
            ticket, request = self.waiting.popleft()
            heapq.heappush(self.running, (self.steps + self.length_of(request), ticket, request))
        step_s = self.speed.base_s + self.speed.each_s * len(self.running)
        steps = max(1, min(self.running[0][0] - self.steps, math.ceil((until - self.time) / step_s)))
        self.steps += steps
        self.time += steps * step_s
        done: list[Task] = []
        while self.running and self.running[0][0] <= self.steps:
            _, ticket, request = heapq.heappop(self.running)
            done.append((ticket, request))
        return done


class SimulatedEngines:
    """`ServingEngines` for tests and benchmarks.

    `kills` and `hangs` decide whether a prompt, once an engine has it in flight, ends that engine or makes
    it silent. `offs` are the canary's verdicts on the loads to come: True differs.
    `rooms` says at which times a machine has room for a new engine. `machines` names prompts that take the engine's
    whole machine with them. `broken` are slots whose new engines die while they start.
    """

    def __init__(
        self,
        count: int,
        *,
        speed: Speed | None = None,
        length_of: Callable[[Request], int] = skewed_length,
        kills: Callable[[Request], bool] | None = None,
        hangs: Callable[[Request], bool] | None = None,
        offs: Sequence[bool] = (),
        latency_s: float = 0.002,
        start_s: float = 20.0,
        rooms: Callable[[float], bool] = lambda now: True,
        machines: Callable[[Request], bool] | None = None,
        broken: frozenset[int] = frozenset(),
    ) -> None:
        self.speed, self.length_of = speed or Speed(), length_of
        self.kills, self.hangs, self.offs = kills, hangs, deque(offs)
        self.latency_s, self.start_s, self.rooms = latency_s, start_s, rooms
        self.machines, self.broken, self.unplaced = machines, broken, set[int]()
        self.engines: list[SimulatedEngine] = [SimulatedEngine(self.speed, length_of) for _ in range(count)]
        self.starting: dict[int, float] = {}
        self.up, self.empty = set(range(count)), set[int]()
        self.loaded: list[str] = []
        self.asked: list[tuple[int, int]] = []
        self.most_in_flight = 0
        self.replacements: list[int] = []
        self.replaced_at: list[float] = []
        self.forgotten: list[int] = []
        self.closed = False
        self.rests = 0
        self._clock = 0.0

    @property
    def count(self) -> int:
        return len(self.engines)

    def now(self) -> float:
        return self._clock

    def serving(self, slot: int) -> bool:
        return slot in self.up

    def sequences(self, slot: int) -> int:
        del slot
        return self.speed.batch

    def busy(self, slot: int) -> bool:
        return self.engines[slot].polled or slot in self.starting

    def poll(self, slot: int) -> None:
        self.engines[slot].polled = True

    def submit(self, slot: int, tasks: Sequence[Task]) -> None:
        engine = self.engines[slot]
        engine.submit(tasks, self._clock)
        self.asked += [(slot, request.number) for _, request in tasks]
        self.most_in_flight = max(self.most_in_flight, len(engine.in_flight()))

    def forget(self, slot: int) -> None:
        self.forgotten.append(slot)
        self.engines[slot] = SimulatedEngine(self.speed, self.length_of, self._clock)

    def serve(self, target: ServingTarget) -> None:
        self.loaded.append(target.folder)
        self.up.clear()
        self.starting = dict.fromkeys(set(range(self.count)) - self.empty - self.unplaced, self._clock)

    def end(self, slot: int) -> None:
        self.engines[slot] = SimulatedEngine(self.speed, self.length_of, self._clock)
        self.up.discard(slot)
        self.starting.pop(slot, None)
        self.unplaced.discard(slot)
        self.empty.add(slot)

    def replace(self, slot: int) -> None:
        assert slot in self.empty, "only an ended engine can be replaced"
        self.empty.discard(slot)
        self.replacements.append(slot)
        self.replaced_at.append(self._clock)
        self.unplaced.add(slot)
        self.missing_room(slot)

    def missing_room(self, slot: int) -> str | None:
        if slot in self.unplaced and self.rooms(self._clock):
            self.unplaced.discard(slot)
            self.starting[slot] = self._clock + self.start_s
        return "CPU 0 free of 2, 2 needed" if slot in self.unplaced else None

    def rest(self) -> None:
        self.rests += 1
        self.up.clear()

    def close(self) -> None:
        self.closed = True

    def receive(self, timeout_s: float) -> list[Event]:
        limit = self._clock + timeout_s
        due = [(self.starting[slot], slot) for slot in self.starting]
        due += [
            (engine.time, slot)
            for slot, engine in enumerate(self.engines)
            if engine.polled and slot in self.up and not self._has(slot, self.hangs)
        ]
        when, slot = min(due, default=(limit, -1))
        if slot < 0 or when > limit:
            self._clock = limit
            return []
        event = self._happen(slot)
        self._clock = max(self._clock, self.engines[slot].time, when) + self.latency_s
        return [event]

    def _happen(self, slot: int) -> Event:
        if slot in self.starting:
            del self.starting[slot]
            if slot in self.broken and slot in self.replacements:
                return EngineLost(slot, "it does not start")
            if self.offs and self.offs.popleft():
                return EngineLost(slot, "its canary is off")
            self.up.add(slot)
            return EngineReady(slot)
        lost = self._has(slot, self.machines)
        if lost or self._has(slot, self.kills):
            self.up.discard(slot)
            self.engines[slot].polled = False
            return EngineLost(slot, "its machine is gone" if lost else "it crashed", with_machine=lost)
        return EngineResults(slot, [(ticket, answer_of(request)) for ticket, request in self.engines[slot].poll()])

    def _has(self, slot: int, marked: Callable[[Request], bool] | None) -> bool:
        return marked is not None and any(marked(request) for request in self.engines[slot].in_flight())
