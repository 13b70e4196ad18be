"""Rewards in the caller's own process: for tests and for cheap reward models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from eva.runtime.worker_reports import WorkerStatus
from eva.types import PromptResponses, RewardedResponses
from workers.rewards.model import RewardModel, RewardRequest


def reward_request(answered: PromptResponses) -> RewardRequest:
    """The texts of an answered prompt, as reward models take them."""
    return RewardRequest(answered.text, tuple(response.text for response in answered.responses), answered.context)


class LocalRewarder:
    """`eva.roles.Rewarder` around a reward model, one prompt at a time, in order."""

    def __init__(self, name: str, model: RewardModel) -> None:
        self._name, self._model = name, model

    @property
    def name(self) -> str:
        return self._name

    def reward(self, answered: Iterable[PromptResponses]) -> Iterator[RewardedResponses]:
        """Pull one prompt, yield it with its rewards, pull the next."""
        for one in answered:
            (rewards,) = self._model.reward_many([reward_request(one)], _nobody_watches)
            yield RewardedResponses(one, rewards)

    def at_work(self) -> list[WorkerStatus]:
        """Nothing: what it does, its caller does."""
        return []

    def close(self) -> None:
        self._model.close()


def _nobody_watches() -> None:
    """A caller does not kill its own process."""
