"""What runs in the actors of `shared_gpus`, without models. Actors import it in a moment."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from eva.config import PointwiseReward
from eva.runtime.logs import WorkerLog
from eva.types import Checkpoint, Reward, TrainingJob, TrainingResult, TrainingStep
from workers.rewards.model import RewardRequest


class LengthModel:
    """Rewards length, slowly."""

    patience_s = 60.0

    def __init__(self, config: PointwiseReward) -> None:
        self._config = config

    def reward_many(self, requests: Sequence[RewardRequest], alive: Callable[[], None]) -> list[tuple[Reward, ...]]:
        time.sleep(0.02 * len(requests))
        alive()
        return [tuple(Reward(float(len(text))) for text in request.responses) for request in requests]

    def close(self) -> None: ...


class PlacedTraining:
    """Stands for TrainingProcess: reserves GPUs as Ray Train does, and says where its processes ran."""

    def __init__(self, log: WorkerLog) -> None:
        self._steps = 0

    def warm(self) -> None: ...

    def train(self, job: TrainingJob, training: Any, model: Any, *, engines_on_gpu: bool) -> TrainingResult:
        assert engines_on_gpu
        group = placement_group([{"GPU": 1}] * training.devices)
        ray.get(group.ready(), timeout=60)
        remote: Any = ray.remote(machine_here)
        options = [
            {"num_cpus": 0, "num_gpus": 1, "scheduling_strategy": PlacementGroupSchedulingStrategy(group, index)}
            for index in range(training.devices)
        ]
        ranks = ray.get([remote.options(**each).remote() for each in options])
        for _ in range(20):
            time.sleep(0.1)
            self._steps += 1
        remove_placement_group(group)
        where = json.dumps({"coordinator": machine_here(), "ranks": ranks})
        return TrainingResult(Checkpoint(1, 0, where, ""), ())

    @ray.method(concurrency_group="watch")
    def progress_since(self, count: int) -> tuple[list[tuple[TrainingStep, int]], int, str]:
        return [(TrainingStep(step, {}), 20) for step in range(count, self._steps)], 0, "a job"

    @ray.method(concurrency_group="watch")
    def steps_since(self, count: int) -> list[tuple[TrainingStep, int]]:
        return [(TrainingStep(step, {}), 20) for step in range(count, self._steps)]


def machine_here() -> str:
    return ray.get_runtime_context().get_node_id()
