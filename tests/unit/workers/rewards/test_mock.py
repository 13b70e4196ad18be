"""The mock rewarder."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from eva.config import MockReward
from eva.types import PromptResponses, Response
from workers.rewards import build_rewarder
from workers.rewards.mock import FAILED, MockModel
from workers.rewards.model import RewardRequest

HOSTILE = ("", "{}", "\0", "\ud800", "a" * 10_000, "日本語")


def mock(**settings: float) -> MockReward:
    return MockReward.model_validate({"kind": "mock"} | settings)


def values(config: MockReward, prompt: str, responses: tuple[str, ...]) -> list[float | None]:
    (rewards,) = MockModel(config).reward_many([RewardRequest(prompt, responses)], lambda: None)
    return [reward.value for reward in rewards]


def many(count: int) -> tuple[str, ...]:
    return tuple(f"response {i}" for i in range(count))


def test_equal_texts_get_equal_rewards_and_other_seeds_other_ones() -> None:
    config = mock(noise=0.3)
    assert values(config, "p", many(20)) == values(config, "p", many(20))
    assert values(config, "p", many(20)) != values(mock(noise=0.3, seed=1), "p", many(20))
    assert values(config, "p", many(20)) != values(config, "q", many(20))


def test_base_rewards_spread_over_the_unit_interval() -> None:
    rewards = [value for value in values(mock(), "p", many(2000)) if value is not None]
    assert 0 <= min(rewards) < 0.01
    assert 0.99 < max(rewards) <= 1
    assert abs(statistics.mean(rewards) - 0.5) < 0.03


def test_noise_has_the_standard_deviation_asked_for() -> None:
    base = values(mock(), "p", many(2000))
    noisy = values(mock(noise=2.0), "p", many(2000))
    noise = [b - a for a, b in zip(base, noisy, strict=True) if a is not None and b is not None]
    assert abs(statistics.pstdev(noise) - 2.0) < 0.15
    assert abs(statistics.mean(noise)) < 0.2


def test_length_bias_is_added_per_hundred_characters() -> None:
    (plain,) = values(mock(), "p", ("x" * 250,))
    (biased,) = values(mock(length_bias=0.4), "p", ("x" * 250,))
    assert plain is not None and biased is not None
    assert abs(biased - plain - 1.0) < 1e-12


def test_the_failure_rate_quarantines_its_share_with_a_reason() -> None:
    (rewards,) = MockModel(mock(failure_rate=0.25)).reward_many([RewardRequest("p", many(2000))], lambda: None)
    failed = [reward for reward in rewards if reward.value is None]
    assert 0.2 < len(failed) / 2000 < 0.3
    assert {reward.reason for reward in failed} == {FAILED}


def test_hostile_texts_are_rewarded_like_any_other() -> None:
    for text in HOSTILE:
        assert None not in values(mock(noise=1.0), text, HOSTILE)


def test_the_name_tells_what_distinguishes_it() -> None:
    assert MockModel.name_of(mock()) == "mock"
    assert MockModel.name_of(mock(noise=0.5, seed=3)) == "mock:noise=0.5:seed=3"


def test_the_local_rewarder_is_lazy_and_keeps_prompts_without_responses() -> None:
    pulled: list[int] = []

    def answers() -> Iterator[PromptResponses]:
        for number in range(3):
            pulled.append(number)
            responses = () if number == 1 else (Response(0, "a", "stop", 1, 0),)
            yield PromptResponses(number, "p", responses, failure="no answer" if number == 1 else None)

    rewarded = build_rewarder(mock(), local=True).reward(answers())
    assert len(next(rewarded).rewards) == 1
    assert pulled == [0]
    assert [len(one.rewards) for one in rewarded] == [0, 1]
