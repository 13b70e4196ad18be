"""Rewards from comparisons agree with the definitions."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eva.measures.bradley_terry import (
    AGGREGATIONS,
    bradley_terry_rewards,
    fit_bradley_terry,
    mean_win_rates,
    symmetrise,
)
from eva.types import Floats


def sigmoid(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-x))


def drawn(seed: int, *shape: int) -> Floats:
    return np.random.default_rng(seed).uniform(0, 1, shape)


def gradient(wins: Floats, logs: Floats) -> Floats:
    """Returns the derivative of the log-likelihood by each log-strength, pair by pair as in the definition."""
    out = np.zeros(len(logs))
    for i in range(len(logs)):
        for j in range(len(logs)):
            if i != j:
                out[i] += wins[i, j] * sigmoid(logs[j] - logs[i]) - wins[j, i] * sigmoid(logs[i] - logs[j])
    return out


def test_both_orders_give_a_preference_that_does_not_depend_on_the_order() -> None:
    first = np.array([[np.nan, 0.9], [0.3, np.nan]])
    assert symmetrise(first) == pytest.approx(np.array([[0.5, (0.9 + 1 - 0.3) / 2], [(0.3 + 1 - 0.9) / 2, 0.5]]))


def test_a_judge_that_always_takes_the_first_prefers_no_response() -> None:
    assert (symmetrise(np.ones((4, 4))) == 0.5).all()


def test_a_single_order_counts_as_it_is_and_none_is_unknown() -> None:
    first = np.full((3, 3), np.nan)
    first[0, 1] = 0.8
    beats = symmetrise(first)
    assert (beats[0, 1], beats[1, 0]) == pytest.approx((0.8, 0.2))
    assert np.isnan(beats[[0, 2, 1, 2], [2, 0, 2, 1]]).all()


@given(st.integers(2, 8), st.integers(0, 2**32 - 1))
def test_symmetrised_preferences_of_a_pair_sum_to_one(count: int, seed: int) -> None:
    beats = symmetrise(drawn(seed, 3, count, count))
    assert beats + beats.swapaxes(-1, -2) == pytest.approx(np.ones_like(beats))


def test_the_win_rate_is_the_mean_over_all_responses_itself_at_a_half() -> None:
    beats = symmetrise(drawn(1, 6, 6))
    expected = [(0.5 + sum(beats[i, j] for j in range(6) if j != i)) / 6 for i in range(6)]
    assert mean_win_rates(beats) == pytest.approx(expected)
    assert mean_win_rates(beats).mean() == pytest.approx(0.5)


def test_the_win_rate_is_over_the_comparisons_that_were_made() -> None:
    beats = symmetrise(drawn(1, 4, 4))
    beats[3, :3] = beats[:3, 3] = np.nan
    rates = mean_win_rates(beats)
    assert rates[:3] == pytest.approx(mean_win_rates(beats[:3, :3]))
    assert np.isnan(rates[3])


def test_an_only_response_wins_half() -> None:
    assert mean_win_rates(symmetrise(np.full((1, 1), np.nan))) == pytest.approx([0.5])


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_prompts_do_not_influence_each_other(aggregation: str) -> None:
    beats = symmetrise(drawn(2, 5, 4, 4))
    together = AGGREGATIONS[aggregation](beats)
    alone = np.stack([AGGREGATIONS[aggregation](one) for one in beats])
    assert together == pytest.approx(alone, abs=1e-8)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_the_order_of_responses_does_not_matter(aggregation: str) -> None:
    beats, order = symmetrise(drawn(3, 6, 6)), np.random.default_rng(0).permutation(6)
    moved = AGGREGATIONS[aggregation](beats[np.ix_(order, order)])
    assert moved == pytest.approx(AGGREGATIONS[aggregation](beats)[order], abs=1e-8)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_the_response_that_beats_all_others_has_the_highest_reward(aggregation: str) -> None:
    beats = symmetrise(drawn(4, 5, 5))
    beats[2, :], beats[:, 2] = 1.0, 0.0
    rewards = AGGREGATIONS[aggregation](symmetrise(beats))
    assert np.isfinite(rewards).all()
    assert rewards.argmax() == 2


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 7), st.integers(0, 2**32 - 1))
def test_the_fit_is_where_the_likelihood_is_flat(count: int, seed: int) -> None:
    wins = 0.01 + 5 * drawn(seed, count, count)
    fit = fit_bradley_terry(wins, prior=0)
    assert fit.converged
    assert abs(gradient(wins, fit.log_strengths)).max() < 1e-6


def test_strengths_are_recovered_from_their_own_preferences() -> None:
    strengths = np.array([1.5, 0.2, -0.3, -1.4])
    fit = fit_bradley_terry(sigmoid(strengths[:, None] - strengths[None, :]), prior=0)
    assert fit.log_strengths == pytest.approx(strengths, abs=1e-8)


def test_the_prior_is_wins_and_losses_against_a_player_of_strength_one() -> None:
    wins, prior = drawn(5, 3, 3), 0.7
    extended = np.zeros((4, 4))
    extended[:3, :3] = wins
    extended[:3, 3] = extended[3, :3] = prior
    by_prior = fit_bradley_terry(wins, prior=prior).log_strengths
    by_player = fit_bradley_terry(extended, prior=0).log_strengths[:3]
    assert by_prior == pytest.approx(by_player - by_player.mean(), abs=1e-6)


def test_a_chain_of_comparisons_orders_those_that_never_met() -> None:
    beats = np.full((3, 3), np.nan)
    beats[0, 1], beats[1, 0], beats[1, 2], beats[2, 1] = 0.8, 0.2, 0.8, 0.2
    rewards = fit_bradley_terry(beats, prior=0).log_strengths
    assert rewards == pytest.approx([np.log(4), 0, -np.log(4)])


def test_responses_that_no_chain_connects_are_in_different_components() -> None:
    wins = np.zeros((5, 5))
    wins[0, 2], wins[2, 0], wins[1, 3], wins[3, 1] = 3, 1, 1, 3
    fit = fit_bradley_terry(wins, prior=0)
    assert fit.components.tolist() == [0, 1, 0, 1, 4]
    assert fit.log_strengths[:4] == pytest.approx(np.log(3) / 2 * np.array([1, -1, -1, 1]))
    assert np.isnan(fit.log_strengths[4])
    assert np.isnan(bradley_terry_rewards(wins)[4])


def test_if_a_response_won_everything_only_the_prior_gives_a_maximum() -> None:
    wins = np.array([[0.0, 3, 3], [0, 0, 2], [0, 1, 0]])
    assert np.isnan(fit_bradley_terry(wins, prior=0).log_strengths).all()
    fit = fit_bradley_terry(wins)
    assert fit.converged
    assert fit.log_strengths[0] > fit.log_strengths[1] > fit.log_strengths[2]


def test_a_fit_with_too_few_sweeps_is_not_converged() -> None:
    fit = fit_bradley_terry(drawn(6, 4, 6, 6), most_sweeps=1)
    assert fit.sweeps == 1
    assert not fit.converged.any()


def test_ten_thousand_prompts_are_fitted_together() -> None:
    beats = symmetrise(drawn(7, 10_000, 4, 4))
    began = time.perf_counter()
    fit = fit_bradley_terry(beats)
    assert time.perf_counter() - began < 20
    assert fit.converged.all()
