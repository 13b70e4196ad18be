"""Deterministic rewards without a model."""

from __future__ import annotations

from collections.abc import Sequence

from eva.config import MockReward
from eva.prompts.conversations import transcript
from eva.seeds import derive, generator, text_hash
from eva.types import Reward
from workers.rewards.model import Alive, RewardRequest

FAILED = "mock failure"


class MockModel:
    """Rewards that depend only on the config and the texts.

    r = u + length_bias * characters / 100 + noise * g, u uniform in [0, 1] and g standard normal,
    both derived from (seed, prompt, response), the prompt being all of its messages.
    """

    patience_s = 60.0

    def __init__(self, config: MockReward) -> None:
        self._config = config

    @staticmethod
    def name_of(config: MockReward) -> str:
        """Returns `mock` and each setting that is not the default."""
        settings = config.model_dump(exclude_defaults=True, exclude={"kind"})
        return "mock" + "".join(f":{key}={value}" for key, value in settings.items())

    @staticmethod
    def check(config: MockReward) -> None:
        """Does nothing: every config is valid."""

    def reward_many(self, requests: Sequence[RewardRequest], alive: Alive) -> list[tuple[Reward, ...]]:
        alive()
        return [
            tuple(self._reward(transcript(request.prompt, request.context), response) for response in request.responses)
            for request in requests
        ]

    def _reward(self, prompt: str, response: str) -> Reward:
        config, texts = self._config, (text_hash(prompt), text_hash(response))
        if derive(config.seed, "failure", *texts) / 2**63 < config.failure_rate:
            return Reward(None, FAILED)
        value = derive(config.seed, "base", *texts) / 2**63 + config.length_bias * len(response) / 100
        if config.noise:
            value += generator(config.seed, "noise", *texts).gauss(0.0, config.noise)
        return Reward(value)

    def close(self) -> None:
        """Does nothing."""
