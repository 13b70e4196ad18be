"""Reward and gap by category: a prompt counts once, however many responses it has."""

from __future__ import annotations

import numpy as np
import pytest

from eva.measures.categories import category_figures
from eva.types import RewardTable

NAN = float("nan")


def table(rewards_P_N: list[list[float]]) -> RewardTable:
    rewards = np.array(rewards_P_N)
    return RewardTable(
        np.arange(len(rewards)), rewards, np.ones(rewards.shape, np.int64), np.zeros(rewards.shape, bool), {}
    )


def test_each_prompt_counts_once_and_intervals_are_over_prompts() -> None:
    judged = table([[0, 1, 2], [4, 4, NAN], [9, 9, 9], [NAN, NAN, NAN]])
    math, writing = category_figures(["math", "math", "writing", "math"], np.array([2.0, 0.0, 0.0, NAN]), judged)
    assert (math["category"], math["prompts"], math["share"]) == ("math", 3, 0.75)
    assert (math["reward"], math["rewarded"], math["gap"], math["informative"]) == (2.5, 2, 1.0, 2)
    # two prompts of mean 1 and 4: Student's t with one degree of freedom
    assert math["reward_interval"] == pytest.approx([2.5 - 12.706 * 1.5, 2.5 + 12.706 * 1.5], rel=1e-3)
    assert (writing["reward"], writing["reward_interval"], writing["gap"]) == (9.0, None, 0.0)


def test_prompts_without_a_category_are_in_none() -> None:
    assert category_figures([None, None], np.array([1.0, 1.0]), table([[0, 1], [0, 1]])) == []
