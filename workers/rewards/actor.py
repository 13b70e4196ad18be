"""The reward model in a Ray actor of its own, so that rewards stream behind generation."""

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
    """What runs inside the actor: a reward model, and a watchdog that ends the process when it hangs.

    The watchdog is a C thread: it works even while a function holds the interpreter's lock.
    """

    def __init__(self, model: str, config: RewardConfig, spent: Mapping[str, float]) -> None:
        self._model_path, self._config, self._spent = model, config, spent
        self._model: RewardModel | None = None
        self._armed_at = 0.0

    def reward_many(self, asked: Sequence[RewardRequest]) -> Rewards:
        # Built here and not in __init__, so that its errors arrive as themselves.
        model = self._model = self._model or self._build()
        self._alive()
        reach("rewarder.asked")
        try:
            rewards = model.reward_many(asked, self._alive)
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
    """A RewardProcess as a Ray actor; `workers.rewards.window.Process`."""

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

    def submit(self, asked: Sequence[RewardRequest]) -> Future[Rewards]:
        return self._actor.reward_many.remote(list(asked)).future()

    def restart(self) -> None:
        self.stop()
        self.start()

    def stop(self) -> None:
        stop_actor(self._actor, self._located)


class ActorRewarder:
    """`eva.roles.Rewarder` around a reward model in a Ray actor, started at its first use.

    Args:
        name: what its rewards are stored under.
        model: `module:Class` of the reward model, built in the actor from `config`.
        config: the reward model's section of the config.
        cpus: CPUs that Ray reserves for it; 0 lets it share what the engines leave. GPUs are the config's.
        spent: what its rewards have cost the run so far, by part; it goes on counting.
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
        """Start the actor without waiting for it. Needs an initialised Ray."""
        self._process = self._process or RayProcess(
            self._model, self._config, self._cpus, gpus_of(self._config), lambda: {**self._spent}
        )

    def reward(self, answered: Iterable[PromptResponses]) -> Iterator[RewardedResponses]:
        """Pull answered prompts, about a hundred at most in flight; yield what is done at each pull.

        Every prompt comes back once. Raises RewarderDiedError, and ConfigError when the reward model
        cannot be built on the actor's machine.
        """
        self.start()
        assert self._process
        window = Window(self._process, restarts=self._restarts, hung_s=self._hung_s, notice=self._notice)
        self._window = window
        for one in answered:
            if not one.responses:
                yield RewardedResponses(one, ())
                continue
            window.put(one)
            yield from self._take(window, block=False)
            while window.full:
                yield from self._take(window, block=True)
        while not window.empty:
            yield from self._take(window, block=True)

    def at_work(self) -> list[WorkerStatus]:
        """What the actor has in hand. Another thread may ask."""
        window = self._window
        return [] if window is None or window.empty else [window.at_work()]

    def _take(self, window: Window, *, block: bool) -> list[RewardedResponses]:
        try:
            taken = window.take(block=block)
        except RayTaskError as error:
            # What the reward model itself complained of, without Ray's wrapping.
            raise error.cause from None
        for reward in (reward for one in taken for reward in one.rewards):
            self._spent.update({name: part.value or 0 for name, part in reward.parts if name.endswith(COST)})
        return taken

    def close(self) -> None:
        """End the actor. It starts again at the next use."""
        if self._process:
            self._process.stop()
            self._process = None


def gpus_of(config: RewardConfig) -> float:
    """GPUs of a rewarder's process: a network's own, or those of an ensemble's members, who share it."""
    if isinstance(config, EnsembleReward):
        return sum(gpus_of(member.reward) for member in config.members)
    return config.gpus if isinstance(config, RewardNetwork) else 0


def _require_gpus(gpus: float) -> None:
    """Ray would wait for ever for a GPU that no machine of its cluster has."""
    there: float = ray.cluster_resources().get("GPU", 0)
    if gpus > there:
        raise ConfigError(
            f"the rewarder asks for {gpus:g} GPUs, and Ray's cluster has {there:g}",
            expected=f"reward.gpus of at most {there:g}",
            next_move="Lower reward.gpus (0 computes on the CPU), or join machines with GPUs",
        )
