"""The fleet: all engines of a run, serving one policy (the role `Generator`)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from eva.config import RunConfig
from eva.errors import InfrastructureError, ModelError
from eva.runtime.failpoints import reach
from eva.runtime.worker_reports import IncidentListener, WorkerStatus, ignore_incident
from eva.solver.manifest import CANARY, MANIFEST, is_stored
from eva.storage.places import credentials_for
from eva.storage.stored_manifests import fetch_files
from eva.types import Checkpoint, PromptResponses, Request
from workers.cluster.secrets import read_secrets
from workers.fleet.dispatch import (
    POLL_S,
    EngineLost,
    EngineReady,
    Engines,
    EngineTime,
    Ledger,
    Limits,
    new_ledger,
    run_requests,
)
from workers.fleet.engine import EngineSetup
from workers.fleet.engine_actors import ActorEngines, ServingTarget
from workers.fleet.model_interface import model_interface
from workers.fleet.placement import EngineResources, engine_resources, engine_setup
from workers.fleet.recovery import Recovery
from workers.fleet.run_ahead import run_ahead
from workers.fleet.serving_view import serving_view
from workers.models.model_folder import inspect_model
from workers.training.adapters.adapter_files import read_adapter
from workers.training.canary import Canary, read_canary
from workers.training.checkpoints import checkpoint_name, verify_once
from workers.training.stored.publication import find_stored

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

AHEAD = 1024
"""How many results may wait for the caller before the engines get no more requests: each has all responses of a prompt,
perhaps with their tokens, so this bounds the driver's memory."""


class ServingEngines(Engines, Protocol):
    """Engines that can load a policy."""

    def serve(self, target: ServingTarget) -> None: ...

    def rest(self) -> None: ...

    def close(self) -> None: ...


class Fleet:
    """All engines of a run: loaded once, their weights reloaded in place. As a context manager it ends them."""

    def __init__(
        self,
        engines: ServingEngines,
        limits: Limits,
        views_dir: Path,
        *,
        shares_device: bool = False,
        adapters: bool = False,
        notice: IncidentListener = ignore_incident,
    ) -> None:
        """
        Args:
            views_dir: for the folders that engines load from (see `serving_view`); emptied first.
            shares_device: whether the engines must leave their device to the trainer during `rest`.
            adapters: whether the engines serve a policy as its adapter, where it has one.
            notice: called when an engine is lost or replaced.
        """
        self._engines, self._limits, self._views_dir = engines, limits, views_dir
        self._shares_device, self._adapters = shares_device, adapters
        self._recovery = Recovery(
            engines, restarts=limits.restarts, backoff_s=limits.backoff_s, room_s=limits.start_s, notice=notice
        )
        self._ledger: Ledger | None = None
        self._time = EngineTime()
        self._loading_since: float | None = None
        shutil.rmtree(views_dir, ignore_errors=True)
        self._released = False
        self._policy: Checkpoint | None = None
        self._canary: Canary | None = None
        self._shape: dict[str, Any] | None = None

    def load(self, policy: Checkpoint) -> None:
        """Makes every engine serve this policy and proves it by the canary. Does nothing if all serve it already.

        A checkpoint in an object store is fetched by each machine that has an engine, once.

        Raises ModelError for a policy of another shape, CheckpointError if the checkpoint is damaged or has no
        canary, StorageError, CanaryError if even a freshly opened engine serves other weights, EngineDiedError when
        every engine was given up, NoRoomError when no machine can host an engine.
        """
        if self._policy is not None and self._policy.digest == policy.digest and self._all_serve():
            return
        stored, base = is_stored(policy.path), self._base_of(policy)
        weights = base or policy
        if not stored:
            verify_once(Path(weights.path), weights.digest)
        name = f"{weights.number}-{weights.digest[:16]}"
        files = self._files_of(policy, name) if stored else Path(policy.path)
        shape = _shape(files)
        if self._shape not in (None, shape):
            raise ModelError(
                f"checkpoint {policy.number} ({policy.path}) has another shape than the engines' model: "
                f"{_differences(self._shape or {}, shape)}",
                expected="checkpoints of one model",
                next_move="Start a run of its own for another model",
            )
        view = files if stored else serving_view(weights.path, self._views_dir / name)
        self._policy = None
        self._recovery.begin_stage()
        reach("fleet.load.begun")
        canary = read_canary(files)
        secrets = read_secrets(credentials_for(policy.path))
        self._engines.serve(
            ServingTarget(str(view), policy, canary, self._canary or self._canary_before(policy), secrets, base)
        )
        self._await_ready()
        reach("fleet.load.proven")
        self._policy, self._shape, self._canary = policy, shape, canary
        self._drop_views_except(view)

    def rest(self) -> None:
        """Returns shared devices to the cluster, for the trainer. The next `load` starts the engines again."""
        if self._shares_device:
            self._policy = None
            self._engines.rest()
            self._recovery.forget()

    def generate(self, requests: Iterable[Request]) -> Generator[PromptResponses, None, None]:
        """Yield results in the order of finishing; requests are pulled lazily, a window in flight per engine.

        A thread feeds the engines, up to `AHEAD` results ahead of the caller. So engines go on while the caller is
        busy, and `requests` is iterated on that thread.

        Raises InfrastructureError before a policy is loaded, EngineDiedError when every engine was given up,
        NoRoomError when no machine can host an engine.
        """
        if self._policy is None:
            raise InfrastructureError(
                "responses were requested before the engines serve a policy", next_move="Call load(policy) first"
            )
        self._recovery.begin_stage()
        for slot in range(self._engines.count):
            idle = not (self._engines.serving(slot) or self._engines.busy(slot))
            if idle and slot not in self._recovery.waiting:
                self._recovery.lose(slot, "an earlier stage gave it up")
        self._ledger = new_ledger(requests, self._engines, self._limits)
        self._time.begin()
        try:
            fed = run_requests(self._ledger, self._engines, self._recovery, self._time)
            yield from run_ahead(fed, AHEAD, "fleet")
        finally:
            self._ledger = None

    def at_work(self) -> Sequence[WorkerStatus]:
        """Returns what each engine is working on. Safe to call from another thread."""
        ledger, since = self._ledger, self._loading_since
        if since is not None:
            return [
                WorkerStatus(f"engine {slot}", "loading a policy", self._engines.now() - since)
                for slot in range(self._engines.count)
                if not self._engines.serving(slot)
            ]
        return [] if ledger is None else ledger.at_work()

    def meter(self) -> Mapping[str, int]:
        """Returns how busy the engines have been so far. Safe to call from another thread."""
        return self._time.readings()

    def release(self) -> ServingEngines:
        """Returns the engines, which another fleet takes over: `close` leaves them running."""
        self._released = True
        return self._engines

    def close(self) -> None:
        """Ends the engines, unless they were released."""
        self._policy = None
        if not self._released:
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
        """Waits until every engine serves for which there is room, and at least one."""
        engines, recovery = self._engines, self._recovery
        waiting = set(range(engines.count))
        self._loading_since = engines.now()
        began = dict.fromkeys(waiting, engines.now())
        try:
            while waiting - recovery.hopeless or len(waiting) == engines.count:
                recovery.act()
                began |= dict.fromkeys(recovery.waiting, engines.now())
                for event in engines.receive(POLL_S):
                    if isinstance(event, EngineReady):
                        waiting.discard(event.slot)
                        recovery.ready(event.slot)
                    elif isinstance(event, EngineLost):
                        recovery.lose(event.slot, event.reason, with_machine=event.with_machine)
                late = [slot for slot in waiting if engines.now() - began[slot] > self._limits.start_s]
                for slot in sorted({*late} - recovery.waiting):
                    recovery.lose(slot, f"it did not start within {self._limits.start_s:.0f} s")
        finally:
            self._loading_since = None

    def _files_of(self, policy: Checkpoint, name: str) -> Path:
        """A folder with the files of a stored checkpoint that the driver itself reads, which are small."""
        return fetch_files(policy.path, policy.digest, ("config.json", CANARY), self._views_dir / name)

    def _base_of(self, policy: Checkpoint) -> Checkpoint | None:
        """The checkpoint whose weights are served with the policy's adapter. None: the policy's own weights are served,
        as they are where the base was deleted."""
        if not self._adapters or is_stored(policy.path):
            return None
        adapter = read_adapter(policy)
        if adapter is None or not (Path(adapter.base.path) / MANIFEST).is_file():
            return None
        return adapter.base

    def _canary_before(self, policy: Checkpoint) -> Canary | None:
        """The canary of the run's checkpoint before this one, None where there is none."""
        if policy.number == 0 or policy.step:
            return None
        name = checkpoint_name(policy.number - 1)
        if not is_stored(policy.path):
            folder = Path(policy.path).parent / name
            return read_canary(folder) if (folder / CANARY).is_file() else None
        for place, manifest in find_stored(policy.path.rpartition("/")[0], name):
            return read_canary(fetch_files(place, manifest.digest, (CANARY,), self._views_dir / name))
        return None

    def _drop_views_except(self, view: Path) -> None:
        for folder in self._views_dir.glob("*"):
            if folder != view:
                shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class KeptEngines:
    """Engines that a run has left running. `interface`: that of the model that they have loaded."""

    engines: ActorEngines
    interface: str

    def fits(self, interface: str, setup: EngineSetup, resources: EngineResources, count: int) -> bool:
        """Whether a run with these settings, of a model with this interface, can take the engines over."""
        return interface == self.interface and self.engines.fits(setup, resources, count)


def keep_engines(fleet: Fleet, model_dir: Path) -> KeptEngines | None:
    """Releases the engines of a fleet that serves `model_dir` or a checkpoint of it."""
    engines = fleet.release()
    return KeptEngines(engines, model_interface(model_dir)) if isinstance(engines, ActorEngines) else None


def start_fleet(
    config: RunConfig,
    model_dir: str | Path,
    *,
    logs_dir: Path,
    views_dir: Path,
    conversation: int = 0,
    notice: IncidentListener = ignore_incident,
    kept: KeptEngines | None = None,
) -> Fleet:
    """Starts the engines of a run. Returns at once, while they import vLLM; the first `load` loads the model.

    Args:
        model_dir: a folder with the run's model or any checkpoint of it; it determines context and threads.
        conversation: the most tokens that come before the text of a prompt.
        kept: engines that another run has left. They are taken over if they fit this run, and ended otherwise.

    Ray must be connected. Raises ModelError if the model cannot be served with this config.
    """
    facts = inspect_model(Path(model_dir))
    fleet = config.fleet
    setup, resources = engine_setup(config, facts, conversation), engine_resources(config, facts)
    if kept is not None and kept.fits(model_interface(facts.path), setup, resources, fleet.engines):
        engines = kept.engines
        engines.take_over(logs_dir)
    else:
        if kept is not None:
            kept.engines.close()
        engines = ActorEngines(setup, resources, fleet.engines, logs_dir)
    window = None if fleet.window == "auto" else fleet.window
    limits = Limits(window, fleet.restarts, fleet.stall_s, fleet.start_s, fleet.backoff_s)
    return Fleet(
        engines,
        limits,
        views_dir,
        shares_device=fleet.gpus_per_engine > 0,
        adapters=setup.adapters is not None,
        notice=notice,
    )


def _shape(folder: Path) -> dict[str, Any]:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return {key: config.get(key) for key in _SHAPE}


def _differences(one: dict[str, Any], other: dict[str, Any]) -> str:
    return ", ".join(f"{key} {other[key]} instead of {one[key]}" for key in one if one[key] != other[key])
