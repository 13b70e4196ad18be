"""Every weighting and sampler equals its definition, and no draw depends on order or shards."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eva.creator.samplers import SAMPLERS, Candidates, greedy, weighted
from eva.creator.sampling import Draw, PromptTraits, SamplingRule, largest, sample
from eva.creator.weights import WEIGHTS
from eva.seeds import uniforms
from eva.types import Estimate

RULES = [
    SamplingRule(weights, sampler, 0.5, staleness, 0.3)
    for weights in WEIGHTS
    for sampler in SAMPLERS
    for staleness in (0.0, 0.2)
]
INFO = [(number * 37 % 11) / 10 for number in range(40)]


def estimated(info: Sequence[float], numbers: Sequence[int] | None = None) -> Estimate:
    return Estimate(
        np.array(numbers if numbers is not None else range(len(info)), dtype=np.int64),
        np.array(info, dtype=float),
        np.zeros(len(info), np.int64),
    )


def traits_of(numbers: Sequence[int]) -> PromptTraits:
    return PromptTraits(
        ages_P=np.array([number % 4 for number in numbers], dtype=np.int64),
        topics_P=np.array([number % 7 // 3 - 1 for number in numbers], dtype=np.int64),
    )


def draw(
    info: Sequence[float],
    rule: SamplingRule,
    count: int,
    seed: int = 5,
    ages: Sequence[int] | None = None,
    topics: Sequence[int] | None = None,
) -> Draw:
    zeros = [0] * len(info)
    return sample(
        estimated(info),
        count,
        rule,
        seed=seed,
        iteration=1,
        traits=PromptTraits(np.array(ages or zeros), np.array(topics or zeros)),
    )


def weights_of(info: Sequence[float], rule: SamplingRule, ages: Sequence[int] | None = None) -> list[float]:
    return draw(info, rule, 1, ages=ages).weights_P.tolist()


BY_DEFINITION: dict[str, Callable[[list[float]], list[float]]] = {
    "minmax": lambda info: [(x - min(info)) / (max(info) - min(info)) + 1e-3 for x in info],
    "proportional": lambda info: [x - min(0.0, *info) for x in info],
    "rank": lambda info: [
        (1 / (sum(y > x for y in info) + (sum(y == x for y in info) + 1) / 2)) ** (1 / 0.5) for x in info
    ],
    "softmax": lambda info: [math.exp((x - max(info)) / 0.5) for x in info],
}


@pytest.mark.parametrize("weights", WEIGHTS)
@settings(max_examples=40)
@given(info=st.lists(st.integers(-5, 20).map(float), min_size=2, max_size=15).filter(lambda info: len(set(info)) > 1))
def test_the_weighting_equals_its_definition(weights: str, info: list[float]) -> None:
    plain = BY_DEFINITION[weights](info)
    assert weights_of(info, SamplingRule(weights, temperature=0.5)) == pytest.approx(
        [weight / sum(plain) for weight in plain], abs=1e-12
    )


@pytest.mark.parametrize("rule", RULES, ids=str)
@settings(max_examples=8)
@given(order=st.permutations(range(40)), seed=st.integers(0, 2**62))
def test_the_order_of_the_prompts_changes_no_draw(rule: SamplingRule, order: list[int], seed: int) -> None:
    straight = sample(estimated(INFO), 9, rule, seed=seed, iteration=2, traits=traits_of(range(40)))
    turned = sample(
        estimated([INFO[number] for number in order], order), 9, rule, seed=seed, iteration=2, traits=traits_of(order)
    )
    assert straight.subset == turned.subset and len(straight.subset) == 9
    assert turned.keys_P == pytest.approx(straight.keys_P[order], nan_ok=True)


@pytest.mark.parametrize("sampler", [weighted, greedy])
@settings(max_examples=20)
@given(shards=st.lists(st.integers(0, 3), min_size=40, max_size=40), seed=st.integers(0, 2**62))
def test_shards_compute_the_same_keys_and_draw_the_same_prompts(
    sampler: Callable[[Candidates], np.ndarray], shards: list[int], seed: int
) -> None:
    whole = sample(estimated(INFO), 9, SamplingRule(sampler=sampler.__name__), seed=seed, iteration=2)
    finalists: list[tuple[float, float, int]] = []
    for shard in range(4):
        rows = np.flatnonzero(np.array(shards) == shard)
        gumbel = -np.log(-np.log(uniforms(seed, 2, "sample", numbers=rows)))
        keys = sampler(Candidates(np.array(INFO)[rows], np.log(whole.weights_P[rows]), gumbel, rows * 0, 0.5))
        assert keys == pytest.approx(whole.keys_P[rows])
        finalists += [(float(keys[row]), float(gumbel[row]), int(rows[row])) for row in largest(keys, gumbel, rows, 9)]
    assert sorted(number for _, _, number in sorted(finalists)[-9:]) == whole.subset


def test_greedy_takes_the_most_informative_and_breaks_ties_by_seed_alone() -> None:
    rule = SamplingRule(sampler="greedy")
    assert draw(INFO[:11], rule, 3).subset == sorted(sorted(range(11), key=lambda row: -INFO[row])[:3])
    taken = np.bincount(
        np.concatenate([draw([1.0] * 10 + [0.0], rule, 5, seed).subset for seed in range(400)]), minlength=11
    )
    assert taken[10] == 0 and taken[:10].min() > 140 and taken[:10].max() < 260


def test_stratified_draws_as_often_from_each_decile_and_by_weight_inside() -> None:
    info = [row / 99 for row in range(100)]
    for seed in range(30):
        subset = np.array(draw(info, SamplingRule(sampler="stratified"), 30, seed).subset)
        assert (np.bincount(subset // 10, minlength=10) == 3).all()
    spread = np.bincount(np.array(draw(info, SamplingRule(sampler="stratified"), 34, 3).subset) // 10, minlength=10)
    assert sorted(spread.tolist()) == [3] * 6 + [4] * 4
    steep = SamplingRule("softmax", "stratified", temperature=0.01)
    first = np.concatenate([draw(info, steep, 10, seed).subset for seed in range(50)]) % 10
    assert (first >= 8).mean() > 0.8


def test_topic_balanced_gives_every_topic_the_same_chance_at_a_share_of_1() -> None:
    topics = [0] * 90 + [1] * 9 + [-1]
    rule = SamplingRule(sampler="topic_balanced", topic_share=1.0)
    drawn = [draw([row / 99 for row in range(100)], rule, 1, seed, topics=topics).subset[0] for seed in range(900)]
    counts = [sum(topics[number] == topic for number in drawn) for topic in (0, 1, -1)]
    assert sum((count - 300) ** 2 / 300 for count in counts) < 13.8, "beyond the 0.1 % point, 2 degrees of freedom"


def test_topic_balanced_at_a_share_of_0_is_weighted() -> None:
    topics = [row % 3 for row in range(40)]
    rule = SamplingRule(sampler="topic_balanced", topic_share=0.0)
    assert draw(INFO, rule, 9, topics=topics).subset == draw(INFO, SamplingRule(), 9).subset


def test_staleness_mixes_the_weight_with_the_iterations_since_the_last_responses() -> None:
    info, ages = [0.0, 1.0, 3.0, 0.0], [6, 2, 0, 0]
    found = weights_of(info, SamplingRule("proportional", staleness=0.25), ages)
    assert found == pytest.approx([0.25 * 6 / 8, 0.75 / 4 + 0.25 * 2 / 8, 0.75 * 3 / 4, 0.0])
    fresh = weights_of(info, SamplingRule("proportional", staleness=0.25), [0, 0, 0, 0])
    assert fresh == pytest.approx([0.0625, 0.25, 0.625, 0.0625])


def test_a_weight_of_0_is_never_drawn_however_many_are_requested(caplog: pytest.LogCaptureFixture) -> None:
    found = draw([0.0, 1.0, 2.0, 0.0], SamplingRule("proportional"), 4)
    assert found.subset == [1, 2] and found.weights_P.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 0])
    assert np.isnan(found.keys_P).tolist() == [True, False, False, True] and "have weight 0" in caplog.text


def test_negative_info_is_measured_from_the_lowest_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert weights_of([-3.0, -1.0, 1.0], SamplingRule("proportional")) == pytest.approx([0, 1 / 3, 2 / 3])
    assert "as low as -3" in caplog.text


def test_a_sharp_softmax_loses_no_prompt() -> None:
    found = draw([0.0, 1.0, 5000.0], SamplingRule("softmax", temperature=0.1), 2)
    assert found.subset == [1, 2] and np.isfinite(found.keys_P).all()


def test_the_metric_uniform_is_constant_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    found = Estimate(np.arange(9), np.ones(9), np.zeros(9, np.int64), "uniform")
    assert sample(found, 3, seed=1, iteration=1).uniform and caplog.text == ""
