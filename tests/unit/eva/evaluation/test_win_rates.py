"""Self-preference equals its definition: two win rates of the judge's own responses on the same prompts."""

from __future__ import annotations

import numpy as np
import pytest

from eva.evaluation.win_rates import self_preference


def test_self_preference_is_the_difference_of_two_win_rates_over_the_prompts_with_both() -> None:
    judge = np.array([1.0, 1, 0.5, 1, np.nan, 1])
    second = np.array([1.0, 0, 0.5, 0, 1, np.nan])
    found = self_preference(judge, second, seed=1)
    assert found is not None and found["prompts"] == 4
    assert (found["judge"]["value"], found["second"]["value"]) == (3.5 / 4, 1.5 / 4)
    assert found["bias"]["value"] == 0.5
    assert found["bias"]["low"] <= 0.5 <= found["bias"]["high"]
    assert self_preference(judge, np.full(6, np.nan), seed=1) is None


def test_a_judge_that_is_right_about_its_own_responses_has_no_bias() -> None:
    better = (np.arange(200) % 10 < 8).astype(np.float64)
    found = self_preference(better, better, seed=1)
    assert found is not None and found["judge"]["value"] == 0.8
    assert found["bias"] == {"value": 0, "low": 0, "high": 0}


def test_a_judge_that_gives_its_own_responses_a_bonus_is_detected() -> None:
    rng = np.random.default_rng(0)
    quality = rng.normal(size=2000)
    judge, second = (quality + 0.8 > 0).astype(np.float64), (quality + rng.normal(0, 0.1, 2000) > 0).astype(np.float64)
    found = self_preference(judge, second, seed=1)
    # a normal variable is above -0.8 with probability 0.788
    assert found is not None and found["bias"]["value"] == pytest.approx(0.788 - 0.5, abs=0.03)
    assert 0.2 < found["bias"]["low"] < found["bias"]["value"] < found["bias"]["high"] < 0.4
