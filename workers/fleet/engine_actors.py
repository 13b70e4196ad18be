"""The engines as Ray actors: sends calls, receives events."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import ray
from ray.exceptions import RayError, RayTaskError

from eva.errors import CanaryError, DiskFullError, EvaError, ModelError, StorageError
from eva.runtime.logs import WorkerLog
from eva.types import Checkpoint
from workers.cluster.actors import find_process, lost_machine, stop_actor
from workers.cluster.room import Room
from workers.cluster.secrets import NO_SECRETS, Secrets
from workers.fleet.dispatch import EngineLost, EngineReady, EngineResults, Event, Task
from workers.fleet.engine import EngineSetup
from workers.fleet.placement import POLLS, EngineResources, start_engine
from workers.fleet.proof import mean_difference, refuse_opened, refuse_reloaded
from workers.training.canary import Canary

# When a call has ended its result still has to reach this machine.
FETCH_S = 60.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServingTarget:
    """What engines have to serve: a folder that they can reload, and the canary that proves it.

    `policy` is the checkpoint itself, which each machine verifies once; `previous` the canary of the checkpoint before,
    where there is one. `secrets` give access to the object store that the checkpoint is in. `base`: if the
    engines serve the policy as an adapter, the checkpoint below it, whose weights `folder` has.
    """

    folder: str
    policy: Checkpoint
    canary: Canary
    previous: Canary | None = None
    secrets: Secrets = NO_SECRETS
    base: Checkpoint | None = None

    @property
    def weights(self) -> Checkpoint:
        """The checkpoint whose weights the engines load."""
        return self.base or self.policy

    @property
    def adapted(self) -> Checkpoint | None:
        """The checkpoint whose adapter they load on top, if there is one."""
        return None if self.base is None else self.policy


@dataclass(frozen=True, slots=True)
class _Call:
    kind: Literal["load", "measure", "poll"]
    result: Any


class _Slot:
    """A slot for an engine: its actor, its calls in order, and its state."""

    def __init__(self, actor: Any, room: Room) -> None:
        self.actor, self.located, self.room = actor, find_process(actor), room
        self.calls: deque[_Call] = deque()
        self.fresh = True
        # What the engine serves, by its canary, once that is proven after it was opened; and its mean difference then,
        # nats per token.
        self.served: Canary | None = None
        self.noise = 0.0
        # The digest of the checkpoint whose weights it has loaded, adapters aside.
        self.weights = ""
        self.sequences = 0
        self.serving = False
        self.empty = False

    @property
    def preparing(self) -> bool:
        """Whether the engine is loading a policy, or proving it."""
        return any(call.kind != "poll" for call in self.calls)


class ActorEngines:
    """`dispatch.Engines` over Ray actors, which can also load policies and be replaced."""

    def __init__(self, setup: EngineSetup, resources: EngineResources, count: int, logs_dir: Path) -> None:
        """Starts all actors. They import vLLM in the background."""
        self._setup, self._resources, self._logs_dir = setup, resources, logs_dir
        self._target: ServingTarget | None = None
        self._proven = False
        self._resting = False
        self._slots = [self._start(slot) for slot in range(count)]

    @property
    def count(self) -> int:
        return len(self._slots)

    def actor(self, slot: int) -> Any:
        """Returns the actor of an engine."""
        return self._slots[slot].actor

    def fits(self, setup: EngineSetup, resources: EngineResources, count: int) -> bool:
        """Whether a run with these settings can take the engines over."""
        return (self._setup, self._resources, self.count) == (setup, resources, count)

    def take_over(self, logs_dir: Path) -> None:
        """Makes the engines those of another run: they log to its folder, and serve nothing until the next `serve`."""
        self._logs_dir, self._target = logs_dir, None
        for slot, state in enumerate(self._slots):
            state.calls.clear()
            state.serving = False
            if state.empty and not self._resting:
                self._slots[slot] = self._start(slot)
            elif not state.empty:
                state.actor.log_to.remote(self._log(slot))

    def now(self) -> float:
        return time.monotonic()

    def serving(self, slot: int) -> bool:
        return self._slots[slot].serving

    def busy(self, slot: int) -> bool:
        return bool(self._slots[slot].calls)

    def sequences(self, slot: int) -> int:
        return self._slots[slot].sequences

    def submit(self, slot: int, tasks: Sequence[Task]) -> None:
        self._slots[slot].actor.submit.remote(list(tasks))

    def poll(self, slot: int) -> None:
        state = self._slots[slot]
        if not state.calls:
            poll = state.actor.poll.options(concurrency_group=POLLS)
            state.calls.append(_Call("poll", poll.remote()))

    def forget(self, slot: int) -> None:
        state = self._slots[slot]
        state.calls.clear()
        state.actor.forget.remote()

    def serve(self, target: ServingTarget) -> None:
        """Makes every engine load a policy. An `EngineReady` or `EngineLost` event follows for each.

        An engine that is about to load this policy already goes on.
        """
        before = self._target
        length = self._setup.max_model_len - 1  # one token is generated
        previous = None if target.previous is None else target.previous.fitting(length)
        self._target = replace(target, canary=target.canary.fitting(length), previous=previous)
        if self._resting:
            self._slots = [self._start(slot) for slot in range(self.count)]
            self._resting = False
        same = before is not None and (before.folder, before.policy.digest) == (target.folder, target.policy.digest)
        for state in self._slots:
            if same and state.preparing:
                continue
            state.calls.clear()
            if not state.empty:
                self._prepare(state)

    def end(self, slot: int) -> None:
        state = self._slots[slot]
        if not state.empty:
            stop_actor(state.actor, state.located)
            state.room.release()
        state.calls.clear()
        state.serving, state.empty = False, True

    def replace(self, slot: int) -> None:
        self._slots[slot] = self._start(slot)
        self._prepare(self._slots[slot])

    def missing_room(self, slot: int) -> str | None:
        return self._slots[slot].room.missing()

    def rest(self) -> None:
        """Ends every engine and returns its resources to the cluster. The next `serve` starts them again."""
        for slot in range(self.count):
            self.end(slot)
        self._resting = True

    def receive(self, timeout_s: float) -> list[Event]:
        """Raises CanaryError and ModelError where restarting the engine would not help."""
        heads = {state.calls[0].result: slot for slot, state in enumerate(self._slots) if state.calls}
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

    def _start(self, slot: int) -> _Slot:
        room = self._resources.reserve()
        return _Slot(start_engine(replace(self._setup, log=self._log(slot)), self._resources, room), room)

    def _log(self, slot: int) -> WorkerLog:
        name = f"engine-{slot}"
        return WorkerLog(str(self._logs_dir / f"{name}.log"), name)

    def _prepare(self, state: _Slot, *, anew: bool = False) -> None:
        assert self._target is not None
        target = self._target
        other_weights = self._setup.adapters is not None and state.weights != target.weights.digest
        # A reload is proven by what the engine served before.
        state.serving, state.fresh = False, anew or state.served is None or other_weights
        if state.fresh:
            state.served = None
            load = state.actor.open.remote(target.folder, target.weights, target.secrets, target.adapted)
        elif self._setup.adapters is not None:
            load = state.actor.adapt.remote(target.folder, target.adapted)
        else:
            load = state.actor.reload.remote(target.folder, target.policy, target.secrets)
        state.weights = target.weights.digest
        state.calls.append(_Call("load", load))
        state.calls.append(_Call("measure", state.actor.measure.remote(target.canary.tokens)))

    def _take(self, slot: int) -> Event | None:
        state = self._slots[slot]
        call = state.calls.popleft()
        try:
            value = ray.get(call.result, timeout=FETCH_S)
        except RayError as error:
            state.calls.clear()
            state.serving = False
            return EngineLost(slot, self._reason(state, error), lost_machine(error, state.located))
        match call.kind:
            case "poll":
                return EngineResults(slot, value)
            case "measure":
                return self._judge(slot, value)
            case "load":
                if isinstance(value, int):
                    state.sequences = value
                return None

    def _reason(self, state: _Slot, error: RayError) -> str:
        cause = error.cause if isinstance(error, RayTaskError) else error
        # If no engine has ever served, the same folder and settings would fail again.
        if isinstance(cause, ModelError) and not self._proven:
            raise cause from error
        # Another engine would find the same store, and a full disk stays full.
        if isinstance(cause, StorageError | DiskFullError):
            raise cause from error
        words = str(cause).strip().splitlines() or [""]
        return (
            words[0] if isinstance(cause, EvaError) else f"{type(cause).__name__}: {words[-1 if state.serving else 0]}"
        )

    def _judge(self, slot: int, measured: list[list[float]]) -> Event | None:
        """Compares the canary. An engine whose reload proves nothing is opened anew, and no event follows yet."""
        assert self._target is not None
        state, canary = self._slots[slot], self._target.canary
        half = self._setup.dtype != "float32"
        if not state.fresh:
            refusal = refuse_reloaded(canary, state.served, measured, noise=state.noise)
            if refusal is not None and self._setup.adapters is not None:
                # An adapter is loaded whole: nothing of the one before can have stayed, as after a fresh start.
                refusal = refuse_opened(canary, state.served, measured, half=half)
            if refusal is not None:
                log.info("engine %d is opened anew after its reload: %s", slot, refusal)
                self._prepare(state, anew=True)
                return None
        else:
            refusal = refuse_opened(canary, self._target.previous, measured, half=half)
            if refusal is not None:
                raise CanaryError(
                    f"engine {slot} serves other weights than {self._target.folder} after a fresh start: {refusal}",
                    expected="the log-probabilities recorded when the checkpoint was published",
                    next_move="Check the folder's weights against its manifest, and model.dtype",
                )
            state.noise = mean_difference(canary.values, measured)
        state.served = canary
        state.serving = self._proven = True
        return EngineReady(slot)
