"""Workers that stay up between runs: their start costs more than a short run.

A run takes over what the run before has left if it fits, and leaves its own workers when it is finished. After a run
that ended in any other way everything is started anew, so nothing that one run has broken can reach another.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from eva.config import RewardConfig
from eva.config.rewards import has_budget
from eva.settings import Settings
from orchestrator.hold.orphans import mark_ray_session, process_mark
from workers.cluster.connection import ray_connection
from workers.fleet.fleet import Fleet, KeptEngines, keep_engines
from workers.rewards.actor import ActorRewarder
from workers.rewards.local import LocalRewarder
from workers.training.trainer import KeptProcess, LocalTrainer

Rewarder = ActorRewarder | LocalRewarder


class WarmWorkers:
    """Ray's connection, and what finished runs have left running. As a context manager it ends all of it."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._stack = settings, ExitStack()
        self.engines: KeptEngines | None = None
        """What the last run has left; None while a run plays."""
        self._process: KeptProcess | None = None
        self._rewarders: list[tuple[RewardConfig, Rewarder]] = []

    def take_engines(self) -> KeptEngines | None:
        """Returns the engines that the last run has left, to the run that ends them from now on."""
        engines, self.engines = self.engines, None
        return engines

    def take_process(self) -> KeptProcess | None:
        """Returns the training process that the last run has left, to the run that ends it from now on."""
        process, self._process = self._process, None
        return process

    def take_rewarder(self, config: RewardConfig) -> Rewarder | None:
        """Returns a rewarder with exactly this config that the last run has left, to the run that ends it."""
        for place, (kept, rewarder) in enumerate(self._rewarders):
            if kept == config:
                del self._rewarders[place]
                return rewarder
        return None

    def end_rewarders(self) -> None:
        """Ends the rewarders that the run which begins has not taken."""
        for _, rewarder in self._rewarders:
            rewarder.close()
        self._rewarders = []

    def keep(
        self, fleet: Fleet, model_dir: Path, trainer: LocalTrainer, rewarders: list[tuple[RewardConfig, Rewarder]]
    ) -> list[Rewarder]:
        """Keeps the workers of a finished run. Returns those of its rewarders that are kept: one with a budget is not,
        because it counts what its own run has spent."""
        self.engines, self._process = keep_engines(fleet, model_dir), trainer.release()
        self._rewarders = [(config, rewarder) for config, rewarder in rewarders if not has_budget(config)]
        return [rewarder for _, rewarder in self._rewarders]

    def __enter__(self) -> Self:
        self._stack.enter_context(process_mark())
        self._stack.enter_context(ray_connection(self._settings))
        mark_ray_session()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            self.end_rewarders()
            if self.engines is not None:
                self.engines.engines.close()
            if self._process is not None:
                self._process.end()
