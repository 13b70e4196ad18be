"""The fleet: all engines, serving one policy and answering prompts with it (the role `Generator`)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from eva.config import RunConfig
from eva.errors import EngineDiedError, InfrastructureError, ModelError
from eva.failpoints import reach
from eva.types import Answered, Checkpoint, Request
from workers.dispatch import POLL_S, Died, Engines, Limits, Ready, dispatch
from workers.engines import ActorEngines, Served
from workers.models import inspect_model
from workers.placement import engine_setup, seat
from workers.serving import serving_view
from workers.training.canary import read_canary

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

    def __init__(self, engines: ServingEngines, limits: Limits, views_dir: Path, *,
                 shares_device: bool = False) -> None:
        """`views_dir` takes the folders that engines load from (see `serving_view`).

        With `shares_device` the engines leave it while the trainer has it.
        """
        self._engines, self._limits, self._views_dir = engines, limits, views_dir
        self._shares_device = shares_device
        self._policy: Checkpoint | None = None
        self._shape: dict[str, Any] | None = None

    def load(self, policy: Checkpoint) -> None:
        """Have every engine serve this policy, proven by its canary; nothing where all do already.

        Raises ModelError for a policy of another shape, CheckpointError for one without a canary, CanaryError
        when even a freshly started engine differs, EngineDiedError when replacements are used up.
        """
        if self._policy is not None and self._policy.digest == policy.digest and self._all_serve():
            return
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

    def generate(self, requests: Iterable[Request]) -> Generator[Answered, None, None]:
        """Answer lazily, in the order of finishing, `limits.window` prompts in flight per engine.

        Raises InfrastructureError before a policy is loaded, EngineDiedError when replacements are used up.
        """
        if self._policy is None:
            raise InfrastructureError(
                "the engines were asked for responses before they serve a policy", next_move="Call load(policy) first"
            )
        for slot in range(self._engines.count):
            if not (self._engines.serving(slot) or self._engines.queued(slot)):
                self._engines.replace(slot)
        yield from dispatch(requests, self._engines, self._limits)

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
        waiting, deaths = set(range(self._engines.count)), 0
        began = self._engines.now()
        while waiting:
            events = self._engines.receive(POLL_S)
            waiting -= {event.slot for event in events if isinstance(event, Ready)}
            failed = {event.slot: event.reason for event in events if isinstance(event, Died)}
            if self._engines.now() - began > self._limits.start_s:
                failed |= dict.fromkeys(waiting, f"it did not start within {self._limits.start_s:.0f} s")
                began = self._engines.now()
            for slot, reason in failed.items():
                deaths += 1
                if deaths > self._limits.restarts * self._engines.count:
                    raise EngineDiedError(
                        f"engine {slot} could not be brought to serve ({reason})",
                        expected=f"success within {self._limits.restarts} restarts per engine",
                        next_move="Read the engines' logs, then resume the run",
                    )
                self._engines.replace(slot)

    def _drop_views_except(self, view: Path) -> None:
        for folder in self._views_dir.glob("*"):
            if folder != view:
                shutil.rmtree(folder, ignore_errors=True)


def start_fleet(config: RunConfig, model_dir: str | Path, *, logs_dir: Path, views_dir: Path,
                conversation: int = 0) -> Fleet:
    """Start the engines of a run; returns at once, while they import vLLM. The first `load` gives them the model.

    `model_dir` is a folder of the run's model (any checkpoint of it): its facts decide context and threads.
    `conversation` bounds the tokens that stand before the texts of its prompts.
    Ray must be connected. Raises ModelError where the model cannot be served with this config.
    """
    facts = inspect_model(Path(model_dir))
    fleet = config.fleet
    engines = ActorEngines(engine_setup(config, facts, conversation), seat(config, facts), fleet.engines, logs_dir)
    limits = Limits(fleet.window, fleet.restarts, fleet.stall_s)
    return Fleet(engines, limits, views_dir, shares_device=fleet.gpus_per_engine > 0)


def _shape_of(folder: str) -> dict[str, Any]:
    inspect_model(Path(folder))
    config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    return {key: config.get(key) for key in _SHAPE}


def _differences(one: dict[str, Any], other: dict[str, Any]) -> str:
    return ", ".join(f"{key} {other[key]} instead of {one[key]}" for key in one if one[key] != other[key])
