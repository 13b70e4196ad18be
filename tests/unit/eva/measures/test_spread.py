"""The stored histograms and dots match the pool."""

from __future__ import annotations

from typing import Any

import numpy as np

from eva.measures.spread import BINS, MOST_DOTS, spread
from eva.types import Estimate, RewardTable


def pool(count: int) -> tuple[RewardTable, Estimate, np.ndarray[Any, Any]]:
    rewards_P_N = np.linspace(0, 1, count * 2).reshape(count, 2)
    numbers_P = np.arange(100, 100 + count)
    judged = RewardTable(
        numbers_P,
        rewards_P_N,
        np.arange(count * 2).reshape(count, 2),
        np.zeros((count, 2), bool),
        tokens_P_N=np.full((count, 2), 7),
    )
    return judged, Estimate(numbers_P, np.linspace(-1, 3, count), np.zeros(count, int)), np.arange(count) % 4 == 0


def test_every_prompt_is_in_one_bin_of_its_own_group() -> None:
    judged, estimated, sampled_P = pool(1000)
    found: Any = spread(judged, estimated, sampled_P)
    for of in ("info", "reward"):
        assert sum(found[of]["sampled"]) == 250 and sum(found[of]["rest"]) == 750
        assert len(found[of]["sampled"]) == len(found[of]["rest"]) == BINS
    assert (found["info"]["low"], found["info"]["high"]) == (-1, 3)


def test_dots_are_evenly_spaced_prompts_with_their_own_figures() -> None:
    judged, estimated, sampled_P = pool(1000)
    dots: Any = spread(judged, estimated, sampled_P)["dots"]
    assert len(dots) == MOST_DOTS and dots[0][0] == 100 and dots[-1][0] == 1099
    for number, info, reward, tokens, sampled in dots:
        row = number - 100
        assert info == np.round(estimated.info_P[row], 6) and tokens == 7
        assert reward == round(judged.rewards_P_N[row].mean(), 6) and sampled == int(sampled_P[row])


def test_a_missing_figure_is_null_and_in_no_bin() -> None:
    judged, estimated, sampled_P = pool(8)
    judged.rewards_P_N[2] = np.nan
    estimated.info_P[:] = np.nan
    found: Any = spread(judged, estimated, sampled_P)
    assert found["info"] is None and sum(found["reward"]["sampled"] + found["reward"]["rest"]) == 7
    assert found["dots"][2][1:3] == [None, None]


def test_a_constant_pool_has_a_histogram() -> None:
    judged, estimated, sampled_P = pool(4)
    estimated.info_P[:] = 0.5
    found: Any = spread(judged, estimated, sampled_P)
    assert found["info"]["low"] == 0.5 and sum(found["info"]["sampled"]) == 1
