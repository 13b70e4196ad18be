"""Whether the GPUs exist that a config asks for. Engines and rewarders share them with the trainer, in turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from eva.capacity.machines import Machines
from eva.config import EnsembleReward, RewardConfig, RewardNetwork, RunConfig
from eva.config.rewards import gpus_of, replicas_of


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
        Demand(key, gpus)
        for key, reward in rewarders(config)
        if (gpus := gpus_of(reward)) > 0
        for _ in range(replicas_of(reward))
    ]
    return [*engines, *rewards]


def rewarders(config: RunConfig) -> Iterator[tuple[str, RewardConfig]]:
    """The rewarders of a run, each with its key in the config."""
    for key, reward in (
        ("reward", config.reward),
        ("evaluation.reward", config.evaluation.reward),
        ("audit.reward", config.audit.reward),
    ):
        if reward is not None:
            yield key, reward


def members(key: str, reward: RewardConfig) -> Iterator[tuple[str, RewardConfig]]:
    """A rewarder with its key in the config, or the members of an ensemble with theirs: they share its processes."""
    if isinstance(reward, EnsembleReward):
        for place, member in enumerate(reward.members):
            yield from members(f"{key}.members.{place}.reward", member.reward)
    else:
        yield key, reward


def networks(key: str, reward: RewardConfig) -> Iterator[tuple[str, RewardNetwork]]:
    """The reward models of a rewarder that have a network of their own, with their keys in the config."""
    for place, member in members(key, reward):
        if isinstance(member, RewardNetwork):
            yield place, member


def reward_networks(config: RunConfig) -> Iterator[tuple[str, RewardNetwork]]:
    """Those of all rewarders of a run."""
    for key, reward in rewarders(config):
        yield from networks(key, reward)


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
