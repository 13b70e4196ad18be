"""Rewards without a verifier: does a response agree with the majority of the responses to its prompt?

Agreement is not truth. A policy that is often wrong in the same way is rewarded for it, so `low` and `high` leave out
prompts of which the vote says too little or nothing new (R-Zero keeps shares from 0.3 to 0.8).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from eva.config import AgreementReward
from eva.evaluation.answers import normaliser_named
from eva.types import Reward
from workers.rewards.model import Alive, RewardRequest, reason

SHARE = "share"
"""The part of a reward that holds the majority's share of all responses."""


class AgreementModel:
    """1 for a response whose answer is the majority's, 0 for the others; none if there is no majority to trust.

    A response without an answer counts as disagreeing.
    """

    patience_s = 60.0

    def __init__(self, config: AgreementReward) -> None:
        self._config, self._normalise = config, normaliser_named(config.normaliser)

    @staticmethod
    def name_of(config: AgreementReward) -> str:
        """Returns `agreement` with the normaliser and each bound that is set."""
        bounds = config.model_dump(exclude_defaults=True, exclude={"kind", "normaliser"})
        return f"agreement:{config.normaliser}" + "".join(f":{key}={value:g}" for key, value in bounds.items())

    @staticmethod
    def check(config: AgreementReward) -> None:
        """Raises ConfigError if the normaliser cannot be imported or called."""
        normaliser_named(config.normaliser)

    def reward_many(self, requests: Sequence[RewardRequest], alive: Alive) -> list[tuple[Reward, ...]]:
        rewards: list[tuple[Reward, ...]] = []
        for request in requests:
            alive()
            rewards.append(self._reward(request.responses))
        return rewards

    def close(self) -> None:
        """Does nothing."""

    def _reward(self, responses: Sequence[str]) -> tuple[Reward, ...]:
        answers: list[str | None] = []
        for response in responses:
            try:
                answers.append(self._normalise(response))
            except Exception as error:  # noqa: BLE001, user code raises anything
                why = reason(f"the normaliser failed with {type(error).__name__}: {error}")
                return tuple(Reward(None, why) for _ in responses)
        counts = Counter(answer for answer in answers if answer is not None).most_common(2)
        share = counts[0][1] / len(responses) if counts else 0.0
        why, parts = self._no_vote(counts, share, len(responses)), ((SHARE, Reward(share)),)
        return tuple(Reward(None if why else float(answer == counts[0][0]), why, parts, answer) for answer in answers)

    def _no_vote(self, counts: Sequence[tuple[str, int]], share: float, responses: int) -> str | None:
        """Returns why the vote does not count, or None."""
        low, high = self._config.low, self._config.high
        if responses < 2:
            return "one response alone cannot agree with others"
        if not counts:
            return "no response has an answer"
        if len(counts) > 1 and counts[0][1] == counts[1][1]:
            return "no majority: two answers are equally frequent"
        if low is not None and share < low:
            return f"the majority's share is below {low:g}"
        if high is not None and share > high:
            return f"the majority's share is above {high:g}"
        return None
