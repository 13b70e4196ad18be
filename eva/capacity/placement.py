"""Whether the GPUs exist that a config asks for. Engines and rewarders share them with the trainer, in turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from eva.capacity.machines import Machines
from eva.config import EnsembleReward, RewardConfig, RewardNetwork, RunConfig


@dataclass(frozen=True, slots=True)
class Demand:
    """GPUs that one process needs on one machine, for as long as the stages of its role last."""

    role: str
    gpus: float


def serving_demands(config: RunConfig) -> list[Demand]:
    """What engines and reward models ask for at the same time."""
    fleet = config.fleet
    engines = [Demand("engine", fleet.gpus_per_engine)] * (fleet.engines if fleet.gpus_per_engine > 0 else 0)
    rewards = [
        Demand(key, network.gpus)
        for key, network in reward_networks(config)
        if network.gpus > 0
        for _ in range(replicas_of(network))
    ]
    return [*engines, *rewards]


def reward_networks(config: RunConfig) -> Iterator[tuple[str, RewardNetwork]]:
    """Every reward model with a network of its own, with its key in the config."""
    for key, reward in (
        ("reward", config.reward),
        ("evaluation.reward", config.evaluation.reward),
        ("audit.reward", config.audit.reward),
    ):
        yield from _networks(key, reward)


def replicas_of(reward: RewardNetwork) -> int:
    """How many processes compute this reward."""
    return reward.replicas


def unplaced(demands: Sequence[Demand], machines: Machines) -> list[Demand]:
    """The demands that find no place, whole GPUs first: each lies on one machine, fractions share a GPU."""
    free = [[1.0] * node.gpus for node in machines.nodes]
    largest_first = sorted(demands, key=lambda demand: -demand.gpus)
    return [demand for demand in largest_first if not any(_take(gpus, demand.gpus) for gpus in free)]


def _take(gpus: list[float], wanted: float) -> bool:
    """Takes GPUs from a machine: a fraction of one, or whole ones."""
    if wanted < 1:
        place = next((index for index, left in enumerate(gpus) if left + 1e-9 >= wanted), None)
        if place is None:
            return False
        gpus[place] -= wanted
        return True
    whole = [index for index, left in enumerate(gpus) if left == 1.0][: int(wanted)]
    if len(whole) < wanted:
        return False
    for index in whole:
        gpus[index] = 0.0
    return True


def _networks(key: str, reward: RewardConfig | None) -> Iterator[tuple[str, RewardNetwork]]:
    if isinstance(reward, RewardNetwork):
        yield key, reward
    elif isinstance(reward, EnsembleReward):
        for place, member in enumerate(reward.members):
            yield from _networks(f"{key}.members.{place}.reward", member.reward)
