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

from eva.config import RewardConfig
from eva.config.rewards import gpus_of, replicas_of
from eva.errors import ConfigError
from eva.runtime.failpoints import reach
from eva.runtime.worker_reports import IncidentListener, WorkerStatus, ignore_incident
from eva.types import PromptResponses, RewardedResponses
from workers.cluster.actors import find_process, lost_machine, stop_actor
from workers.cluster.environment import process_environment
from workers.cluster.room import Room, never_has
from workers.cluster.secrets import NO_SECRETS, Secrets
from workers.rewards.model import COST, HasBudget, RewardModel, RewardRequest
from workers.rewards.secrets import rewarder_secrets
from workers.rewards.window import Rewards, Window, emptiest, hand_over, take_from

_STDERR = 2
_REARM_S = 0.5


class RewardProcess:
    """Runs in the actor: a reward model, and a watchdog that ends the process if it hangs.

    The watchdog is a C thread, so it works even while a function holds the interpreter's lock.
    """

    def __init__(
        self, model: str, config: RewardConfig, spent: Mapping[str, float], secrets: Secrets = NO_SECRETS
    ) -> None:
        secrets.install()
        self._model_path, self._config, self._spent = model, config, spent
        self._model: RewardModel | None = None
        self._armed_at = self._armed_for_s = 0.0

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
        patience_s = self._model.patience_s if self._model else 0.0
        if self._model and (now - self._armed_at > _REARM_S or patience_s != self._armed_for_s):
            self._armed_at, self._armed_for_s = now, patience_s
            faulthandler.dump_traceback_later(patience_s + _REARM_S, exit=True, file=_STDERR)


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
        """Starts the actor, as soon as a machine has room for it."""
        _require_gpus(self._gpus)
        self._room = Room({"GPU": self._gpus, "CPU": self._cpus})
        actor: Any = ray.remote(RewardProcess)
        options = actor.options(
            num_cpus=self._cpus,
            num_gpus=self._gpus,
            max_restarts=0,
            max_concurrency=1,
            runtime_env={"env_vars": process_environment()},
            **self._room.options(),
        )
        self._actor = options.remote(self._model, self._config, self._spent(), rewarder_secrets(self._config))
        self._located = find_process(self._actor)

    def submit(self, requests: Sequence[RewardRequest]) -> Future[Rewards]:
        return self._actor.reward_many.remote(list(requests)).future()

    def restart(self) -> None:
        self.stop()
        self.start()

    def missing_room(self) -> str | None:
        return self._room.missing()

    def lost_machine(self, error: BaseException) -> bool:
        return lost_machine(error, self._located)

    def stop(self) -> None:
        stop_actor(self._actor, self._located)
        self._room.release()


class ActorRewarder:
    """An `eva.roles.Rewarder` around a reward model in Ray actors, which start on first use.

    Args:
        name: the name under which its rewards are stored.
        model: `module:Class` of the reward model, which the actor builds from `config`.
        config: the reward model's section of the config.
        cpus: CPUs that Ray reserves for each; with 0 it shares what the engines leave. GPUs are in the config, and so
            is the number of actors (`replicas_of`), each of which has a window of its own.
        spent: what its rewards have cost the run so far, by part.
        restarts, hung_s, room_s, notice: see `Window`.
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
        room_s: float = 900.0,
        notice: IncidentListener = ignore_incident,
    ) -> None:
        self._name, self._model, self._config = name, model, config
        self._cpus, self._restarts, self._spent = cpus, restarts, Counter[str](spent or {})
        self._hung_s, self._room_s, self._notice = hung_s, room_s, notice
        self._processes: list[RayProcess] = []
        self._windows: list[Window] = []

    @property
    def name(self) -> str:
        return self._name

    def start(self) -> None:
        """Starts the actors without waiting for them. Ray must be connected."""
        if not self._processes:
            self._processes = [
                RayProcess(self._model, self._config, self._cpus, gpus_of(self._config), lambda: {**self._spent})
                for _ in range(replicas_of(self._config))
            ]

    def reward(self, prompts: Iterable[PromptResponses]) -> Iterator[RewardedResponses]:
        """Pulls prompts with responses, about a hundred in flight per actor, and yields each as soon as it is done.

        Raises RewarderDiedError, NoRoomError if no machine has room for any actor, and ConfigError if the reward model
        cannot be built on the actor's machine.
        """
        self.start()
        windows = self._windows = [
            Window(process, restarts=self._restarts, hung_s=self._hung_s, room_s=self._room_s, notice=self._notice)
            for process in self._processes
        ]
        for prompt in prompts:
            if not prompt.responses:
                yield RewardedResponses(prompt, ())
                continue
            emptiest(windows).put(prompt)
            yield from self._take(windows, block=False)
            while emptiest(windows).full:
                yield from self._take(windows, block=True)
        while not all(window.empty for window in windows):
            yield from self._take(windows, block=True)

    def at_work(self) -> list[WorkerStatus]:
        """Returns what the actors are working on. Safe to call from another thread."""
        windows = self._windows
        names = ["rewarder"] if len(windows) == 1 else [f"rewarder {number}" for number in range(len(windows))]
        return [window.at_work(name) for name, window in zip(names, windows, strict=True) if not window.empty]

    def rest(self) -> None:
        """Returns the GPUs to the cluster, for the trainer. The actors start again on the next use."""
        if gpus_of(self._config) > 0:
            self.close()

    def _take(self, windows: Sequence[Window], *, block: bool) -> list[RewardedResponses]:
        hand_over(windows)
        try:
            taken = take_from(windows, block=block)
        except RayTaskError as error:
            # The reward model's own error, without Ray's wrapper.
            raise error.cause from None
        for reward in (reward for one in taken for reward in one.rewards):
            self._spent.update({name: part.value or 0 for name, part in reward.parts if name.endswith(COST)})
        return taken

    def take_over(self, *, hung_s: float, room_s: float, notice: IncidentListener) -> None:
        """Makes the rewarder that of another run with the same reward model."""
        self._hung_s, self._room_s, self._notice, self._windows = hung_s, room_s, notice, []

    def close(self) -> None:
        """Ends the actors. They start again on the next use."""
        for process in self._processes:
            process.stop()
        self._processes = []


def _require_gpus(gpus: float) -> None:
    """Raises ConfigError if the cluster is this machine's alone and has too few GPUs; others may still grow."""
    if never_has("GPU", gpus):
        raise ConfigError(
            f"the rewarder asks for {gpus:g} GPUs, and this machine has {ray.cluster_resources().get('GPU', 0):g}",
            expected="reward.gpus of at most what the machine has",
            next_move="Lower reward.gpus (0 computes on the CPU), or join a cluster with GPUs (RAY_ADDRESS)",
        )
