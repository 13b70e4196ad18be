from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eva.creator.samplers import gumbel_top_k
from eva.creator.sampling import SamplingRule, sample
from eva.creator.weights import EPSILON, minmax
from eva.seeds import uniforms
from eva.types import Estimate


def estimated(info: list[float], numbers: list[int] | None = None) -> Estimate:
    numbers_P = np.array(numbers or range(len(info)), dtype=np.int64)
    return Estimate(numbers_P, np.array(info), np.zeros(len(info), np.int64))


def test_minmax_weights_span_epsilon_to_one_before_they_are_normalised() -> None:
    assert np.exp(minmax(np.array([2.0, 3.0, 4.0]))) == pytest.approx([EPSILON, 0.5 + EPSILON, 1 + EPSILON])
    assert sample(estimated([2.0, 3.0, 4.0]), 1, seed=1, iteration=1).weights_P.sum() == pytest.approx(1)


def test_gumbel_top_k_includes_prompts_as_often_as_sequential_weighted_draws() -> None:
    weights = np.array([0.5, 0.25, 0.15, 0.1])
    expected = np.zeros(4)
    for order in permutations(range(4), 2):
        chance = weights[order[0]] * weights[order[1]] / (1 - weights[order[0]])
        expected[list(order)] += chance
    draws = 20_000
    noise = uniforms(7, "test", numbers=np.arange(draws * 4)).reshape(draws, 4)
    keys = gumbel_top_k(np.log(weights), -np.log(-np.log(noise)))
    counted = np.bincount(np.argsort(-keys, axis=1)[:, :2].ravel(), minlength=4)
    chi_square = ((counted - expected * draws) ** 2 / (expected * draws)).sum()
    assert chi_square < 16.3, "beyond the 0.1 % point with 3 degrees of freedom"


@given(st.permutations(range(30)), st.integers(0, 2**62))
def test_the_order_of_the_prompts_changes_no_draw(order: list[int], seed: int) -> None:
    info = [(number * 37 % 11) / 10 for number in range(30)]
    straight = sample(estimated(info), 8, seed=seed, iteration=2)
    shuffled = sample(estimated([info[number] for number in order], list(order)), 8, seed=seed, iteration=2)
    assert straight.subset == shuffled.subset and len(straight.subset) == 8


def test_another_seed_or_iteration_draws_others() -> None:
    info = estimated([0.5, 1.0] * 50)
    draws = {tuple(sample(info, 10, seed=seed, iteration=iteration).subset) for seed in (1, 2) for iteration in (1, 2)}
    assert len(draws) == 4


def test_prompts_without_info_are_never_drawn_even_if_more_are_requested() -> None:
    draw = sample(estimated([float("nan"), 0.2, 0.9, float("nan")]), 4, seed=1, iteration=1)
    assert draw.subset == [1, 2]
    assert np.isnan(draw.keys_P[[0, 3]]).all() and np.isfinite(draw.keys_P[[1, 2]]).all()


@pytest.mark.parametrize("sampler", ["weighted", "greedy", "stratified"])
def test_infos_that_differ_only_by_rounding_are_a_constant_pool(sampler: str) -> None:
    info = [0.3 - 0.1, 0.4 - 0.2] * 4
    assert len(set(info)) == 2
    draw = sample(estimated(info), 4, SamplingRule(sampler=sampler), seed=1, iteration=1)
    same = sample(estimated([0.2] * 8), 4, SamplingRule(sampler=sampler), seed=1, iteration=1)
    assert draw.uniform and draw.subset == same.subset and draw.weights_P == pytest.approx(1 / 8)


def test_a_constant_pool_is_drawn_from_uniformly_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    draw = sample(estimated([0.3] * 10), 4, seed=1, iteration=1)
    assert draw.uniform and len(draw.subset) == 4 and "same informativeness" in caplog.text
    assert draw.weights_P == pytest.approx([0.1] * 10)


def test_an_empty_pool_gives_an_empty_draw() -> None:
    assert sample(estimated([]), 3, seed=1, iteration=1).subset == []


def test_informative_prompts_are_drawn_far_more_often() -> None:
    info = estimated([0.0] * 50 + [1.0] * 50)
    drawn = np.concatenate([sample(info, 10, seed=seed, iteration=1).subset for seed in range(50)])
    assert (drawn >= 50).mean() > 0.95
