"""The fleet: all engines, serving one policy and answering prompts with it (the role `Generator`)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from eva.config import RunConfig
from eva.errors import EngineDiedError, InfrastructureError, ModelError
from eva.runtime.failpoints import reach
from eva.runtime.worker_reports import IncidentListener, WorkerStatus, ignore_incident
from eva.types import Checkpoint, PromptResponses, Request
from workers.fleet.dispatch import POLL_S, Died, Engines, Ledger, Limits, Ready, ledger_of, work_off
from workers.fleet.engine_actors import ActorEngines, Served
from workers.fleet.placement import engine_setup, seat
from workers.fleet.recovery import Recovery
from workers.fleet.serving_view import serving_view
from workers.fleet.utilisation import EngineTime
from workers.models.model_folder import inspect_model
from workers.training.canary import read_canary
from workers.training.checkpoints import verify

_SHAPE = (
    "architectures",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
)


class ServingEngines(Engines, Protocol):
    """Engines that can be told what to serve."""

    def serve(self, served: Served) -> None: ...

    def rest(self) -> None: ...

    def close(self) -> None: ...


class Fleet:
    """Engines that are loaded once and reloaded in place; a context manager that ends them."""

    def __init__(
        self,
        engines: ServingEngines,
        limits: Limits,
        views_dir: Path,
        *,
        shares_device: bool = False,
        notice: IncidentListener = ignore_incident,
    ) -> None:
        """`views_dir` takes the folders that engines load from (see `serving_view`); what lies there is removed.

        With `shares_device` the engines leave it while the trainer has it. `notice` is told of engines lost.
        """
        self._engines, self._limits, self._views_dir = engines, limits, views_dir
        self._shares_device = shares_device
        self._recovery = Recovery(engines, backoff_s=limits.backoff_s, room_s=limits.start_s, notice=notice)
        self._ledger: Ledger | None = None
        self._time = EngineTime()
        self._loading_since: float | None = None
        shutil.rmtree(views_dir, ignore_errors=True)
        self._policy: Checkpoint | None = None
        self._shape: dict[str, Any] | None = None

    def load(self, policy: Checkpoint) -> None:
        """Have every engine serve this policy, proven by its canary; nothing where all do already.

        Raises ModelError for a policy of another shape, CheckpointError for one that is not whole or has no
        canary, CanaryError when even a freshly started engine differs, EngineDiedError when replacements are
        used up, NoRoomError when no machine can host an engine.
        """
        if self._policy is not None and self._policy.digest == policy.digest and self._all_serve():
            return
        verify(Path(policy.path), policy.digest)
        shape = _shape_of(policy.path)
        if self._shape not in (None, shape):
            raise ModelError(
                f"checkpoint {policy.number} ({policy.path}) has another shape than the engines' model: "
                f"{_differences(self._shape or {}, shape)}",
                expected="checkpoints of one model",
                next_move="Start a run of its own for another model",
            )
        view = serving_view(policy.path, self._views_dir / f"{policy.number}-{policy.digest[:16]}")
        self._policy = None
        reach("fleet.load.begun")
        self._engines.serve(Served(str(view), read_canary(Path(policy.path))))
        self._await_ready()
        reach("fleet.load.proven")
        self._policy, self._shape = policy, shape
        self._drop_views_except(view)

    def rest(self) -> None:
        """Leave the device to the trainer, where they share one; the next `load` starts the engines again."""
        if self._shares_device:
            self._policy = None
            self._engines.rest()

    def generate(self, requests: Iterable[Request]) -> Generator[PromptResponses, None, None]:
        """Answer lazily, in the order of finishing, `limits.window` prompts in flight per engine.

        Raises InfrastructureError before a policy is loaded, EngineDiedError when replacements are used up,
        NoRoomError when no machine can host an engine.
        """
        if self._policy is None:
            raise InfrastructureError(
                "the engines were asked for responses before they serve a policy", next_move="Call load(policy) first"
            )
        for slot in range(self._engines.count):
            idle = not (self._engines.serving(slot) or self._engines.queued(slot))
            if idle and slot not in self._recovery.waiting:
                self._recovery.lose(slot, "it was given up in an earlier stage")
        self._ledger = ledger_of(requests, self._engines, self._limits)
        self._time.begin()
        try:
            yield from work_off(self._ledger, self._engines, self._recovery, self._time)
        finally:
            self._ledger = None

    def at_work(self) -> Sequence[WorkerStatus]:
        """What each engine has in hand. Another thread may ask."""
        ledger, since = self._ledger, self._loading_since
        if since is not None:
            return [
                WorkerStatus(f"engine {slot}", "taking on a policy", self._engines.now() - since)
                for slot in range(self._engines.count)
                if not self._engines.serving(slot)
            ]
        return [] if ledger is None else ledger.at_work()

    def meter(self) -> Mapping[str, int]:
        """How much of the engines' time had work in it, so far. Another thread may ask."""
        return self._time.readings()

    def close(self) -> None:
        """End the engines."""
        self._policy = None
        self._engines.close()
        shutil.rmtree(self._views_dir, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _all_serve(self) -> bool:
        return all(self._engines.serving(slot) for slot in range(self._engines.count))

    def _await_ready(self) -> None:
        """Until every engine serves that a machine has room for, and one at least."""
        waiting, deaths = set(range(self._engines.count)), 0
        began = self._loading_since = self._engines.now()
        try:
            while waiting - self._recovery.crowded or len(waiting) == self._engines.count:
                self._recovery.act()
                for event in self._engines.receive(POLL_S):
                    if isinstance(event, Ready):
                        waiting.discard(event.slot)
                        self._recovery.ready(event.slot)
                    elif isinstance(event, Died):
                        deaths = self._replace(event.slot, event.reason, deaths)
                if self._engines.now() - began > self._limits.start_s:
                    for slot in waiting - self._recovery.waiting:
                        deaths = self._replace(slot, f"it did not start within {self._limits.start_s:.0f} s", deaths)
                    began = self._engines.now()
        finally:
            self._loading_since = None

    def _replace(self, slot: int, reason: str, deaths: int) -> int:
        if deaths >= self._limits.restarts * self._engines.count:
            raise EngineDiedError(
                f"engine {slot} could not be brought to serve ({reason})",
                expected=f"success within {self._limits.restarts} restarts per engine",
                next_move="Read the engines' logs, then resume the run",
            )
        self._recovery.lose(slot, reason)
        return deaths + 1

    def _drop_views_except(self, view: Path) -> None:
        for folder in self._views_dir.glob("*"):
            if folder != view:
                shutil.rmtree(folder, ignore_errors=True)


def start_fleet(
    config: RunConfig,
    model_dir: str | Path,
    *,
    logs_dir: Path,
    views_dir: Path,
    conversation: int = 0,
    notice: IncidentListener = ignore_incident,
) -> Fleet:
    """Start the engines of a run; returns at once, while they import vLLM. The first `load` gives them the model.

    `model_dir` is a folder of the run's model (any checkpoint of it): its facts decide context and threads.
    `conversation` bounds the tokens that stand before the texts of its prompts.
    Ray must be connected. Raises ModelError where the model cannot be served with this config.
    """
    facts = inspect_model(Path(model_dir))
    fleet = config.fleet
    engines = ActorEngines(engine_setup(config, facts, conversation), seat(config, facts), fleet.engines, logs_dir)
    limits = Limits(fleet.window, fleet.restarts, fleet.stall_s, fleet.start_s, fleet.backoff_s)
    return Fleet(engines, limits, views_dir, shares_device=fleet.gpus_per_engine > 0, notice=notice)


def _shape_of(folder: str) -> dict[str, Any]:
    inspect_model(Path(folder))
    config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    return {key: config.get(key) for key in _SHAPE}


def _differences(one: dict[str, Any], other: dict[str, Any]) -> str:
    return ", ".join(f"{key} {other[key]} instead of {one[key]}" for key in one if one[key] != other[key])
