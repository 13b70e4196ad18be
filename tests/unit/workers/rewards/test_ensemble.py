"""Ensembles: one scale, three ways to combine, and what the members said beside it."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from eva.config import EnsembleReward
from eva.errors import JudgeError
from eva.measures.bradley_terry import mean_win_rates
from eva.measures.statistics import ranks
from eva.types import Reward
from workers.rewards.ensemble import EnsembleModel
from workers.rewards.judge import JudgeModel
from workers.rewards.model import RewardRequest

MOCKS: list[dict[str, Any]] = [
    {"reward": {"kind": "mock"}, "scale": 0.5, "centre": 0.5},
    {"reward": {"kind": "mock", "seed": 1, "length_bias": 5.0}, "scale": 10.0},
    {"reward": {"kind": "mock", "seed": 2}, "scale": 1.0},
]
TEXTS = ("a", "bb" * 100, "c" * 30, "d")


def ensemble(members: list[dict[str, Any]] = MOCKS, **given: Any) -> EnsembleReward:
    return EnsembleReward.model_validate({"kind": "ensemble", "members": members} | given)


def rewards(config: EnsembleReward, *texts: str) -> tuple[Reward, ...]:
    model = EnsembleModel(config)
    (rewarded,) = model.reward_many([RewardRequest("p", texts or TEXTS)], lambda: None)
    model.close()
    return rewarded


def part(reward: Reward, name: str) -> float:
    value = dict(reward.parts)[name].value
    assert value is not None
    return value


NAMES = ("mock", "mock:length_bias=5.0:seed=1", "mock:seed=2")


@pytest.mark.parametrize(("combine", "formula"), [("mean", np.mean), ("minimum", np.min), ("median", np.median)])
def test_members_are_centred_scaled_and_combined(combine: str, formula: Any) -> None:
    for reward in rewards(ensemble(combine=combine)):
        units = [(part(reward, NAMES[0]) - 0.5) / 0.5, part(reward, NAMES[1]) / 10, part(reward, NAMES[2])]
        assert reward.value == pytest.approx(formula(units))
        assert part(reward, "spread") == pytest.approx(np.std(units))


def test_by_rank_no_member_outweighs_the_others_by_its_units() -> None:
    loud = [{"reward": {"kind": "mock"}}, {"reward": {"kind": "mock", "seed": 1, "length_bias": 1e6}}]
    given = rewards(ensemble(loud, on="rank"))
    longest = max(range(4), key=lambda place: len(TEXTS[place]))
    assert part(given[longest], "mock:length_bias=1000000.0:seed=1") > 1e6
    assert all(0 < (reward.value or 0) < 1 for reward in given)
    assert sum(reward.value or 0 for reward in given) == pytest.approx(2.0)


def test_rewards_without_a_scale_are_never_mixed() -> None:
    with pytest.raises(ValidationError, match=r"members \[0\] have no `scale`.*on: rank"):
        ensemble([{"reward": {"kind": "mock"}}, {"reward": {"kind": "mock"}, "scale": 1}])
    with pytest.raises(ValidationError, match="members"):
        ensemble([{"reward": {"kind": "mock"}, "scale": 1}])
    nested = {"reward": {"kind": "ensemble", "members": MOCKS}, "scale": 1}
    with pytest.raises(ValidationError, match="ensemble"):
        ensemble([nested, nested])


def test_a_response_that_one_member_cannot_reward_has_no_reward_and_the_reason_names_the_member() -> None:
    failing = {"reward": {"kind": "mock", "failure_rate": 0.5, "seed": 4}, "scale": 1}
    given = rewards(ensemble([*MOCKS, failing]), *(str(place) for place in range(40)))
    failed = [reward for reward in given if reward.value is None]
    assert 5 < len(failed) < 35
    for reward in failed:
        assert reward.reason == "mock:failure_rate=0.5:seed=4: mock failure"
        assert part(reward, "mock") is not None and "spread" not in dict(reward.parts)


def test_equal_members_are_told_apart_and_the_name_holds_what_changes_a_reward() -> None:
    twice = ensemble([MOCKS[0], MOCKS[0]])
    assert [name for name, _ in rewards(twice)[0].parts] == ["mock#0", "mock#1", "spread"]
    assert EnsembleModel.name_of(twice) == "ensemble:mean:scaled[(mock#0 - 0.5)/0.5, (mock#1 - 0.5)/0.5]"
    names = {
        EnsembleModel.name_of(config)
        for config in (
            twice,
            ensemble(),
            ensemble(combine="median"),
            ensemble(on="rank"),
            ensemble([MOCKS[1], MOCKS[0], MOCKS[2]]),
        )
    }
    assert len(names) == 5


@given(arrays(np.float64, (2, 5), elements=st.sampled_from([0.0, 1.0, 2.0, math.nan])))
def test_a_rank_is_the_mean_win_rate_of_the_member_as_a_judge_of_pairs(rewards_M_N: Any) -> None:
    better = rewards_M_N[:, :, None] > rewards_M_N[:, None, :]
    equal = rewards_M_N[:, :, None] == rewards_M_N[:, None, :]
    known = np.isfinite(rewards_M_N)
    beats = np.where(known[:, :, None] & known[:, None, :], better + 0.5 * equal, np.nan)
    expected = mean_win_rates(beats)
    found = ranks(rewards_M_N)
    compared = known & (known.sum(axis=1, keepdims=True) > 1)
    np.testing.assert_allclose(found[compared], expected[compared])
    assert np.isnan(found[~known]).all()


@given(st.floats(0.1, 10), st.floats(-5, 5))
def test_ranks_forget_units(scale: float, shift: float) -> None:
    rewards_M_N = np.array([[0.1, 0.9, 0.4, 0.4]])
    np.testing.assert_array_equal(ranks(rewards_M_N), ranks(rewards_M_N * scale + shift))


def test_each_member_is_charged_with_what_it_has_cost_itself() -> None:
    judges = [
        {
            "reward": {
                "kind": "judge",
                "model": f"openai/{name}",
                "api_base": "http://127.0.0.1:1",
                "max_cost_usd": 1,
                "concurrency": 1,
            }
        }
        for name in "ab"
    ]
    config = ensemble([*judges, {"reward": {"kind": "mock"}}], on="rank")
    model = EnsembleModel(config)
    model.charge({"judge:openai/b:pairwise/cost_usd": 2.0, "mock/cost_usd": 7.0})
    for place, spent in ((0, False), (1, True)):
        judge = model._models[place]
        assert isinstance(judge, JudgeModel)
        with pytest.raises(JudgeError, match="has cost 2") if spent else nullcontext():
            judge._budget.require()
