"""Intervals against simulations in which the truth is known."""

import numpy as np
import pytest

from eva.measures.statistics import clustered_wilson, mean_interval, paired_interval, wilson

ROUNDS = 4000


@pytest.mark.parametrize(("items", "n"), [(30, 8), (100, 4), (200, 2)])
@pytest.mark.parametrize("spread", [0.3, 5.0])
def test_an_interval_over_samples_of_the_same_items_covers_the_truth(items: int, n: int, spread: float) -> None:
    draw = np.random.default_rng(items)
    share_R_I = draw.beta(spread * 0.4, spread * 0.6, (ROUNDS, items))
    right_R_I = draw.binomial(n, share_R_I)
    total = items * n
    deviation_R = (right_R_I / n).std(axis=1, ddof=1)
    correct_R = right_R_I.sum(axis=1).tolist()
    intervals = [
        clustered_wilson(correct, total, items, deviation)
        for correct, deviation in zip(correct_R, deviation_R.tolist(), strict=True)
    ]
    covered = np.mean([low <= 0.4 <= high for low, high in intervals])
    assert 0.935 <= covered <= 0.98
    as_independent = np.mean([low <= 0.4 <= high for low, high in (wilson(correct, total) for correct in correct_R)])
    assert as_independent < covered
    assert spread > 1 or as_independent < 0.89, "items that differ much need it most"


def test_one_response_per_item_has_wilsons_own_interval() -> None:
    assert clustered_wilson(7, 20, 20, 0.4) == wilson(7, 20)
    assert clustered_wilson(0, 0, 0, None) == (0.0, 1.0)


@pytest.mark.parametrize("correct", [0, 80])
def test_items_that_are_all_right_or_all_wrong_count_once(correct: int) -> None:
    low, high = clustered_wilson(correct, 80, 10, 0.0)
    assert high - low > 0.25


@pytest.mark.parametrize(("items", "n"), [(20, 1), (50, 1), (200, 1), (40, 8)])
@pytest.mark.parametrize("gain", [0.0, 0.15])
def test_a_paired_interval_covers_the_true_change(items: int, n: int, gain: float) -> None:
    draw = np.random.default_rng(items + n)
    before_I = draw.beta(2, 3, (ROUNDS, items))
    after_I = before_I + gain * (1 - before_I)
    first, second = draw.binomial(n, before_I) / n, draw.binomial(n, after_I) / n
    changes = second - first
    truth = gain * (1 - 2 / 5)
    intervals = [paired_interval(float(row.mean()), float((row**2).sum()), items, n) for row in changes]
    covered = np.mean([low <= truth <= high for low, high in intervals])
    assert 0.93 <= covered <= 0.985
    unpaired = 2 * 1.96 * np.sqrt(0.4 * 0.6 * 2 / (items * n))
    assert n == 1 or np.mean([high - low for low, high in intervals]) < 1.15 * unpaired


def test_a_few_equal_changes_are_not_certain() -> None:
    low, high = paired_interval(1.0, 5.0, 5, 1)
    assert low < 0.3 and high == 1.0
    low, high = paired_interval(0.0, 0.0, 30, 1)
    assert low < 0 < high


def test_a_mean_over_items_has_students_interval() -> None:
    low, high = mean_interval(2.0, 3.0, 9) or (0.0, 0.0)
    assert (low + high) / 2 == pytest.approx(2.0) and high - low == pytest.approx(2 * 2.306004135)
    assert mean_interval(2.0, None, 1) is None
