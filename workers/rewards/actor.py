"""The reward model in its own Ray actor, so that rewards are computed while other prompts still generate."""

from __future__ import annotations

import faulthandler
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pkgutil import resolve_name
from typing import Any

import ray
from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RayTaskError,
    WorkerCrashedError,
)

from eva.config import EnsembleReward, RewardConfig, RewardNetwork
from eva.errors import ConfigError
from eva.runtime.failpoints import reach
from eva.runtime.worker_reports import IncidentListener, WorkerStatus, ignore_incident
from eva.types import PromptResponses, RewardedResponses
from workers.cluster.actors import find_process, stop_actor
from workers.cluster.environment import process_environment
from workers.rewards.model import COST, HasBudget, RewardModel, RewardRequest
from workers.rewards.window import Rewards, Window

_STDERR = 2
_REARM_S = 0.5


class RewardProcess:
    """Runs in the actor: a reward model, and a watchdog that ends the process if it hangs.

    The watchdog is a C thread, so it works even while a function holds the interpreter's lock.
    """

    def __init__(self, model: str, config: RewardConfig, spent: Mapping[str, float]) -> None:
        self._model_path, self._config, self._spent = model, config, spent
        self._model: RewardModel | None = None
        self._armed_at = 0.0

    def reward_many(self, requests: Sequence[RewardRequest]) -> Rewards:
        # Built here rather than in __init__, so that the caller gets its own errors.
        model = self._model = self._model or self._build()
        self._alive()
        reach("rewarder.asked")
        try:
            rewards = model.reward_many(requests, self._alive)
        finally:
            faulthandler.cancel_dump_traceback_later()
            self._armed_at = 0.0
        reach("rewarder.rewarded")
        return rewards

    def _build(self) -> RewardModel:
        model: RewardModel = resolve_name(self._model_path)(self._config)
        if isinstance(model, HasBudget):
            model.charge(self._spent)
        return model

    def _alive(self) -> None:
        now = time.monotonic()
        if self._model and now - self._armed_at > _REARM_S:
            self._armed_at = now
            faulthandler.dump_traceback_later(self._model.patience_s + _REARM_S, exit=True, file=_STDERR)


class RayProcess:
    """A RewardProcess as a Ray actor: a `workers.rewards.window.Process`."""

    died: tuple[type[BaseException], ...] = (
        RayActorError,
        WorkerCrashedError,
        OutOfMemoryError,
        NodeDiedError,
        ObjectLostError,
    )

    def __init__(
        self, model: str, config: RewardConfig, cpus: float, gpus: float, spent: Callable[[], Mapping[str, float]]
    ) -> None:
        self._model, self._config, self._cpus, self._gpus, self._spent = model, config, cpus, gpus, spent
        self._actor: Any = None
        self.start()

    def start(self) -> None:
        _require_gpus(self._gpus)
        actor: Any = ray.remote(RewardProcess)
        options = actor.options(
            num_cpus=self._cpus,
            num_gpus=self._gpus,
            max_restarts=0,
            max_concurrency=1,
            runtime_env={"env_vars": process_environment()},
        )
        self._actor = options.remote(self._model, self._config, self._spent())
        self._located = find_process(self._actor)

    def submit(self, requests: Sequence[RewardRequest]) -> Future[Rewards]:
        return self._actor.reward_many.remote(list(requests)).future()

    def restart(self) -> None:
        self.stop()
        self.start()

    def stop(self) -> None:
        stop_actor(self._actor, self._located)


class ActorRewarder:
    """An `eva.roles.Rewarder` around a reward model in a Ray actor, which starts on first use.

    Args:
        name: the name under which its rewards are stored.
        model: `module:Class` of the reward model, which the actor builds from `config`.
        config: the reward model's section of the config.
        cpus: CPUs that Ray reserves for it; with 0 it shares what the engines leave. GPUs are in the config.
        spent: what its rewards have cost the run so far, by part.
        restarts, hung_s, notice: see `Window`.
    """

    def __init__(
        self,
        name: str,
        model: str,
        config: RewardConfig,
        *,
        cpus: float = 0,
        spent: Mapping[str, float] | None = None,
        restarts: int = 10,
        hung_s: float = 1800.0,
        notice: IncidentListener = ignore_incident,
    ) -> None:
        self._name, self._model, self._config = name, model, config
        self._cpus, self._restarts, self._spent = cpus, restarts, Counter[str](spent or {})
        self._hung_s, self._notice = hung_s, notice
        self._process: RayProcess | None = None
        self._window: Window | None = None

    @property
    def name(self) -> str:
        return self._name

    def start(self) -> None:
        """Starts the actor without waiting for it. Ray must be connected."""
        self._process = self._process or RayProcess(
            self._model, self._config, self._cpus, gpus_of(self._config), lambda: {**self._spent}
        )

    def reward(self, prompts: Iterable[PromptResponses]) -> Iterator[RewardedResponses]:
        """Pulls prompts with their responses, about a hundred in flight, and yields each once, as soon as it is done.

        Raises RewarderDiedError, and ConfigError if the reward model cannot be built on the actor's machine.
        """
        self.start()
        assert self._process
        window = Window(self._process, restarts=self._restarts, hung_s=self._hung_s, notice=self._notice)
        self._window = window
        for prompt in prompts:
            if not prompt.responses:
                yield RewardedResponses(prompt, ())
                continue
            window.put(prompt)
            yield from self._take(window, block=False)
            while window.full:
                yield from self._take(window, block=True)
        while not window.empty:
            yield from self._take(window, block=True)

    def at_work(self) -> list[WorkerStatus]:
        """Returns what the actor is working on. Safe to call from another thread."""
        window = self._window
        return [] if window is None or window.empty else [window.at_work()]

    def _take(self, window: Window, *, block: bool) -> list[RewardedResponses]:
        try:
            taken = window.take(block=block)
        except RayTaskError as error:
            # The reward model's own error, without Ray's wrapper.
            raise error.cause from None
        for reward in (reward for one in taken for reward in one.rewards):
            self._spent.update({name: part.value or 0 for name, part in reward.parts if name.endswith(COST)})
        return taken

    def take_over(self, *, hung_s: float, notice: IncidentListener) -> None:
        """Makes the rewarder that of another run with the same reward model."""
        self._hung_s, self._notice, self._window = hung_s, notice, None

    def close(self) -> None:
        """Ends the actor. It starts again on the next use."""
        if self._process:
            self._process.stop()
            self._process = None


def gpus_of(config: RewardConfig) -> float:
    """Returns the GPUs of a rewarder's process; the members of an ensemble share one process."""
    if isinstance(config, EnsembleReward):
        return sum(gpus_of(member.reward) for member in config.members)
    return config.gpus if isinstance(config, RewardNetwork) else 0


def _require_gpus(gpus: float) -> None:
    """Raises ConfigError if the cluster has too few GPUs: Ray would wait for them for ever."""
    available: float = ray.cluster_resources().get("GPU", 0)
    if gpus > available:
        raise ConfigError(
            f"the rewarder asks for {gpus:g} GPUs, and Ray's cluster has {available:g}",
            expected=f"reward.gpus of at most {available:g}",
            next_move="Lower reward.gpus (0 computes on the CPU), or add machines with GPUs",
        )
