"""Several rewarders as one, on a common scale, with their disagreement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from eva.config import EnsembleReward
from eva.measures.statistics import ranks
from eva.types import Floats, Reward
from workers.rewards import model_class
from workers.rewards.model import Alive, HasBudget, RewardModel, RewardRequest, reason

COMBINE = {"mean": np.mean, "minimum": np.min, "median": np.median}
"""`combine`: how the members' rewards of a response are combined."""


class EnsembleModel:
    """Combines members' rewards on one scale. Letters: N responses of a prompt, M members."""

    def __init__(self, config: EnsembleReward) -> None:
        self._config = config
        self._names = member_names(config)
        self._models: list[RewardModel] = [model_class(member.reward)(member.reward) for member in config.members]

    @staticmethod
    def name_of(config: EnsembleReward) -> str:
        """Returns how it combines, and its members with their scales: whatever changes a reward changes the name."""
        members = (
            name if config.on == "rank" else f"({name} - {member.centre:g})/{member.scale:g}"
            for name, member in zip(member_names(config), config.members, strict=True)
        )
        return f"ensemble:{config.combine}:{config.on}[{', '.join(members)}]"

    @staticmethod
    def check(config: EnsembleReward) -> None:
        """Checks each member. Raises ConfigError."""
        for member in config.members:
            model_class(member.reward).check(member.reward)

    @property
    def patience_s(self) -> float:
        return max(model.patience_s for model in self._models)

    def reward_many(self, requests: Sequence[RewardRequest], alive: Alive) -> list[tuple[Reward, ...]]:
        """Lets each member reward everything in turn. A response that one member cannot reward has no reward."""
        by_member = [model.reward_many(requests, alive) for model in self._models]
        return [self._combine(rewards) for rewards in zip(*by_member, strict=True)]

    def charge(self, spent: Mapping[str, float]) -> None:
        """Passes earlier costs to each member that has a budget."""
        for name, model in zip(self._names, self._models, strict=True):
            if isinstance(model, HasBudget):
                own = f"{name}/"
                model.charge({part.removeprefix(own): cost for part, cost in spent.items() if part.startswith(own)})

    def close(self) -> None:
        for model in self._models:
            model.close()

    def _combine(self, rewards_M: Sequence[tuple[Reward, ...]]) -> tuple[Reward, ...]:
        raw_M_N = np.array([[_number(reward) for reward in rewards] for rewards in rewards_M])
        if self._config.on == "rank":
            units_M_N = ranks(raw_M_N)
        else:
            scales_M = np.array([[member.centre, member.scale or 1.0] for member in self._config.members])
            units_M_N = (raw_M_N - scales_M[:, :1]) / scales_M[:, 1:]
        value_N = COMBINE[self._config.combine](units_M_N, axis=0)
        return tuple(
            self._reward([rewards[place] for rewards in rewards_M], units_M_N[:, place], float(value))
            for place, value in enumerate(value_N)
        )

    def _reward(self, rewards_M: Sequence[Reward], units_M: Floats, value: float) -> Reward:
        parts = tuple(zip(self._names, rewards_M, strict=True))
        for name, reward in parts:
            if not np.isfinite(_number(reward)):
                why = reward.reason or f"the reward is {reward.value}"
                return Reward(None, reason(f"{name}: {why}"), _flat(parts))
        return Reward(value, None, (*_flat(parts), ("spread", Reward(float(units_M.std())))))


def member_names(config: EnsembleReward) -> list[str]:
    """Returns the members' names; equal names get their position."""
    names = [model_class(member.reward).name_of(member.reward) for member in config.members]
    return [f"{name}#{place}" if names.count(name) > 1 else name for place, name in enumerate(names)]


def _number(reward: Reward) -> float:
    return np.nan if reward.value is None else reward.value


def _flat(parts: Sequence[tuple[str, Reward]]) -> tuple[tuple[str, Reward], ...]:
    """Flattens the members' rewards and their parts into one level of names."""
    inner = [(f"{name}/{inner_name}", part) for name, reward in parts for inner_name, part in reward.parts]
    return (*((name, Reward(reward.value, reward.reason, answer=reward.answer)) for name, reward in parts), *inner)
