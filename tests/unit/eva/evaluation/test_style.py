"""Scores at equal style: the fit agrees with scipy's, features with hand computation, and control with known data."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize

from eva.errors import InputError
from eva.evaluation.arena import Battle, arena_scores
from eva.evaluation.style import FEATURES, StyledResponses, logistic, style_differences, style_scores
from eva.types import Floats


def sigmoid(logits: Floats) -> Floats:
    return 1 / (1 + np.exp(-logits))


def test_differences_by_hand() -> None:
    assert FEATURES == ("length", "lists", "headers", "bold")
    own, baseline = np.array([[30.0, 3, 0, 0], [0, 0, 0, 0]]), np.array([[10.0, 0, 1, 0], [0, 0, 0, 0]])
    # as upstream, which divides counts by the length + 1
    lists, headers = 3 / 31, 1 / 11
    expected = [[20 / 40, lists / (lists + 1), -headers / (headers + 1), 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(style_differences(own, baseline), expected)


def test_the_fit_is_the_maximum_of_the_likelihood() -> None:
    rng = np.random.default_rng(0)
    design, played = rng.normal(size=(60, 5)), rng.integers(1, 6, size=60).astype(np.float64)
    wins = played * rng.random(60)

    def loss(coefficients: Floats) -> float:
        logits = design @ coefficients
        return float(np.sum(played * np.logaddexp(0, logits) - wins * logits))

    best = scipy.optimize.minimize(loss, np.zeros(5), method="BFGS", options={"gtol": 1e-10})
    # a fit does not depend on the one made with it: nothing was won there, so it takes more steps
    found = logistic(design, np.stack([np.zeros(60), wins]), np.stack([played, played]))[1]
    np.testing.assert_allclose(found, best.x, atol=1e-4)
    # beyond the ridge that keeps it finite, nothing: its slope vanishes there
    assert loss(found) <= best.fun + 1e-9


def judged(count: int, bias: float) -> tuple[StyledResponses, list[tuple[int, float]]]:
    """Two models as good as the baseline; the second writes longer responses, which a biased judge prefers."""
    rng = np.random.default_rng(1)
    lengths = np.concatenate([rng.integers(50, 150, count), rng.integers(150, 450, count)]).astype(np.float64)
    table = np.column_stack([lengths, np.zeros((2 * count, 3))])
    baseline = np.column_stack([rng.integers(50, 150, 2 * count).astype(np.float64), np.zeros((2 * count, 3))])
    styled = StyledResponses(["plain"] * count + ["wordy"] * count, table, baseline)
    likes = sigmoid(bias * style_differences(table, baseline)[:, 0])
    return styled, [(place, float(rng.random() < like)) for place, like in enumerate(likes.tolist()) for _ in range(4)]


def test_a_judges_preference_for_length_is_removed_from_the_scores() -> None:
    styled, verdicts = judged(1500, bias=3.0)
    raw = {
        score.model: score.win_rate.value
        for score in arena_scores(
            [Battle(styled.models_Q[place], "base", score) for place, score in verdicts], "base", seed=0, rounds=2
        )
    }
    assert raw["wordy"] > 0.75
    found = style_scores(styled, verdicts, "base", centred=False, seed=0, rounds=40)
    by_model = {score.model: score for score in found.scores}
    assert [by_model[name].battles for name in ("plain", "wordy", "base")] == [6000, 6000, 12000]
    for name in ("plain", "wordy"):
        won = by_model[name].win_rate
        assert won.value == pytest.approx(0.5, abs=0.04) and won.low < won.value < won.high
    assert by_model["base"].win_rate.value == 0.5 and by_model["base"].elo.value == 1000
    # in deviations of the feature; what no answer has counts for nothing
    deviation = style_differences(styled.counts_Q_F, styled.baseline_counts_Q_F)[:, 0].std(ddof=1)
    assert found.coefficients == pytest.approx({"length": 3 * deviation, "lists": 0, "headers": 0, "bold": 0}, abs=0.1)


def test_without_a_difference_in_style_the_scores_are_arena_hards() -> None:
    styled, verdicts = judged(50, bias=1.0)
    alike = StyledResponses(styled.models_Q, styled.baseline_counts_Q_F, styled.baseline_counts_Q_F)
    battles = [Battle(styled.models_Q[place], "base", score) for place, score in verdicts]
    for centred in (False, True):
        same = style_scores(alike, verdicts, "base", centred=centred, seed=0, rounds=2)
        for one, other in zip(same.scores, arena_scores(battles, "base", seed=0, rounds=2), strict=True):
            assert (one.model, one.win_rate.value) == (other.model, pytest.approx(other.win_rate.value, abs=1e-6))


def test_centred_scores_hold_at_the_average_style() -> None:
    # of one model alone, that is its own style: nothing is taken out, as in Arena-Hard 2.0
    styled, verdicts = judged(400, bias=3.0)
    wordy = [(place - 400, score) for place, score in verdicts if place >= 400]
    alone = StyledResponses(styled.models_Q[400:], styled.counts_Q_F[400:], styled.baseline_counts_Q_F[400:])
    share = np.mean([score for _, score in wordy])
    at_average, at_baselines = (
        next(
            score.win_rate.value
            for score in style_scores(alone, wordy, "base", centred=centred, seed=0, rounds=1).scores
            if score.model == "wordy"
        )
        for centred in (True, False)
    )
    assert at_average == pytest.approx(share, abs=0.02) and at_baselines < share - 0.1


def test_the_bootstrap_is_seeded_and_no_verdict_is_refused() -> None:
    styled, verdicts = judged(30, bias=1.0)
    one, same, other = (style_scores(styled, verdicts, "base", centred=True, seed=seed, rounds=5) for seed in (1, 1, 2))
    assert one == same and one != other
    with pytest.raises(InputError, match="no verdict"):
        style_scores(styled, [], "base", centred=True, seed=1)
