"""The engines as Ray actors: calls out, events back."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import ray
from ray.exceptions import RayError, RayTaskError

from eva.errors import CanaryError, EvaError, ModelError
from eva.runtime.logs import WorkerLog
from workers.cluster.actors import end_actor, locate
from workers.fleet.dispatch import Died, Event, Ready, Task, Worked
from workers.fleet.engine import EngineSetup
from workers.fleet.placement import Seat, no_room, start_engine
from workers.fleet.serving_view import largest_difference
from workers.training.canary import Canary

# What a call returned is on its way to this machine when the call has ended.
FETCH_S = 60.0


@dataclass(frozen=True, slots=True)
class Served:
    """What engines have to serve: a folder that can be reloaded, and the canary that proves it."""

    folder: str
    canary: Canary


@dataclass(frozen=True, slots=True)
class _Call:
    kind: Literal["load", "measure", "work"]
    result: Any


class _Slot:
    """One place for an engine: its actor, the calls under way in order, and how far it got."""

    def __init__(self, actor: Any) -> None:
        self.actor, self.located = actor, locate(actor)
        self.calls: deque[_Call] = deque()
        self.opened = False
        self.fresh = True
        self.serving = False
        self.empty = False


class ActorEngines:
    """`dispatch.Engines` over Ray actors, which also take on policies and replace themselves."""

    def __init__(self, setup: EngineSetup, seat: Seat, count: int, logs_dir: Path) -> None:
        """Starts all actors; they import vLLM while the caller goes on."""
        self._setup, self._seat, self._logs_dir = setup, seat, logs_dir
        self._served: Served | None = None
        self._proven = False
        self._slots = [_Slot(self._start(slot)) for slot in range(count)]

    @property
    def count(self) -> int:
        return len(self._slots)

    def now(self) -> float:
        return time.monotonic()

    def serving(self, slot: int) -> bool:
        return self._slots[slot].serving

    def queued(self, slot: int) -> int:
        return len(self._slots[slot].calls)

    def send(self, slot: int, tasks: Sequence[Task]) -> None:
        place = self._slots[slot]
        place.calls.append(_Call("work", place.actor.work.remote(list(tasks))))

    def forget(self, slot: int) -> None:
        place = self._slots[slot]
        place.calls.clear()
        place.actor.forget.remote()

    def serve(self, served: Served) -> None:
        """Have every engine take on a policy; a `Ready` or `Died` event follows for each."""
        self._served = served
        for place in self._slots:
            place.calls.clear()
            if not place.empty:
                self._prepare(place)

    def end(self, slot: int) -> None:
        place = self._slots[slot]
        end_actor(place.actor, place.located)
        place.calls.clear()
        place.serving, place.empty = False, True

    def replace(self, slot: int) -> None:
        self._slots[slot] = _Slot(self._start(slot))
        self._prepare(self._slots[slot])

    def no_room(self) -> str | None:
        return no_room(self._seat)

    def rest(self) -> None:
        """End every engine, and start processes that hold nothing of the device until they are given a policy."""
        for slot in range(self.count):
            self.end(slot)
        self._slots = [_Slot(self._start(slot)) for slot in range(self.count)]

    def receive(self, timeout_s: float) -> list[Event]:
        """Raises CanaryError and ModelError where another start cannot help."""
        heads = {place.calls[0].result: slot for slot, place in enumerate(self._slots) if place.calls}
        if not heads:
            time.sleep(timeout_s)
            return []
        ray.wait(list(heads), num_returns=1, timeout=timeout_s)
        done, _ = ray.wait(list(heads), num_returns=len(heads), timeout=0)
        events = [self._take(heads[head]) for head in done]
        return [event for event in events if event is not None]

    def close(self) -> None:
        for slot in range(self.count):
            self.end(slot)

    def _start(self, slot: int) -> Any:
        name = f"engine-{slot}"
        return start_engine(replace(self._setup, log=WorkerLog(str(self._logs_dir / f"{name}.log"), name)), self._seat)

    def _prepare(self, place: _Slot) -> None:
        assert self._served is not None
        place.serving, place.fresh = False, not place.opened
        load = place.actor.reload if place.opened else place.actor.open
        sequences = [list(sequence.token_ids) for sequence in self._served.canary.sequences]
        place.opened = True
        place.calls.append(_Call("load", load.remote(self._served.folder)))
        place.calls.append(_Call("measure", place.actor.measure.remote(sequences)))

    def _take(self, slot: int) -> Event | None:
        place = self._slots[slot]
        call = place.calls.popleft()
        try:
            value = ray.get(call.result, timeout=FETCH_S)
        except RayError as error:
            place.calls.clear()
            place.serving = False
            return Died(slot, self._reason(place, error))
        match call.kind:
            case "work":
                return Worked(slot, value)
            case "measure":
                return self._judge(slot, value)
            case "load":
                return None

    def _reason(self, place: _Slot, error: RayError) -> str:
        cause = error.cause if isinstance(error, RayTaskError) else error
        # Before any engine ever served, the same folder and settings would only fail the same way again.
        if isinstance(cause, ModelError) and not self._proven:
            raise cause from error
        words = str(cause).strip().splitlines() or [""]
        return (
            words[0] if isinstance(cause, EvaError) else f"{type(cause).__name__}: {words[-1 if place.serving else 0]}"
        )

    def _judge(self, slot: int, measured: list[list[float]]) -> Event:
        assert self._served is not None
        place, canary = self._slots[slot], self._served.canary
        difference = largest_difference(canary, measured)
        if difference <= canary.tolerance:
            place.serving = self._proven = True
            return Ready(slot)
        told = f"its canary is off by {difference:.3g} nats, {canary.tolerance:.3g} are allowed"
        if place.fresh:
            raise CanaryError(
                f"engine {slot} serves other weights than {self._served.folder} even after a fresh start: {told}",
                expected="the log-probabilities recorded when the checkpoint was published",
                next_move="Check the folder's weights against its manifest, and model.dtype",
            )
        return Died(slot, told)
