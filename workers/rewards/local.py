"""Rewards in the caller's process, for tests and cheap reward models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from eva.runtime.worker_reports import IncidentListener, WorkerStatus
from eva.types import PromptResponses, RewardedResponses
from workers.rewards.model import RewardModel, RewardRequest


def reward_request(prompt: PromptResponses) -> RewardRequest:
    """Returns the texts of a prompt and its responses, as reward models take them."""
    texts = tuple(response.text for response in prompt.responses)
    return RewardRequest(prompt.text, texts, prompt.context, prompt.reference)


class LocalRewarder:
    """An `eva.roles.Rewarder` around a reward model: one prompt at a time, in order."""

    def __init__(self, name: str, model: RewardModel) -> None:
        self._name, self._model = name, model

    @property
    def name(self) -> str:
        return self._name

    def reward(self, prompts: Iterable[PromptResponses]) -> Iterator[RewardedResponses]:
        """Pulls one prompt, yields it with its rewards, pulls the next."""
        for prompt in prompts:
            (rewards,) = self._model.reward_many([reward_request(prompt)], _ignore)
            yield RewardedResponses(prompt, rewards)

    def at_work(self) -> list[WorkerStatus]:
        """Returns nothing: the work is done by the caller's thread."""
        return []

    def take_over(self, *, hung_s: float, room_s: float, notice: IncidentListener) -> None:
        """Does nothing: this rewarder knows nothing of the run."""

    def rest(self) -> None:
        """Does nothing: it has no device of its own."""

    def close(self) -> None:
        self._model.close()


def _ignore() -> None:
    """No watchdog needs to know about progress in this process."""
