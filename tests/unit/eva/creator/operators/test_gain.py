"""The gain of operators against simulations in which the true gain is known."""

from collections.abc import Callable

import numpy as np
import pytest

from eva.creator.informativeness import estimate
from eva.creator.operators.gain import ChildInfo, clustered_error, operator_gains, pool_shrinkage
from eva.creator.sampling import PromptTraits, SamplingRule, sample
from eva.types import Floats, RewardTable

POOL, N = 400, 6


def table(rewards_P_N: Floats) -> RewardTable:
    texts = np.arange(rewards_P_N.size, dtype=np.int64).reshape(rewards_P_N.shape) + 1
    return RewardTable(np.arange(len(rewards_P_N)), rewards_P_N, texts, np.zeros(rewards_P_N.shape, dtype=bool))


def normal(spread_P: Floats, rng: np.random.Generator, n: int = N) -> Floats:
    return spread_P[:, None] * rng.normal(size=(len(spread_P), n))


def skewed(spread_P: Floats, rng: np.random.Generator, n: int = N) -> Floats:
    return spread_P[:, None] * rng.exponential(size=(len(spread_P), n))


def play(
    metric: str, rewards: Callable[..., Floats], factor: float, seed: int, *, skipped: int = 0, children: int = 2
) -> dict[str, float]:
    """One creator step whose operator multiplies the spread of rewards: its stored figures, and the truth."""
    rng = np.random.default_rng(seed)
    threshold = 0.5 if metric == "learnability" else None

    def measure(judged: RewardTable) -> Floats:
        return estimate(judged, metric=metric, threshold=threshold).info_P

    spread_P = np.exp(0.5 * rng.normal(size=POOL))
    pool = table(rewards(spread_P, rng))
    estimated = estimate(pool, metric=metric, threshold=threshold)
    traits = PromptTraits(np.zeros(POOL, dtype=np.int64), np.zeros(POOL, dtype=np.int64))
    draw = sample(estimated, POOL // 4, SamplingRule(), seed=seed, iteration=1, traits=traits)
    chosen = np.repeat(np.flatnonzero(draw.sampled_P), children)
    new = measure(table(rewards(factor * spread_P[chosen], rng, N - skipped)))
    told = [
        ChildInfo("deepening", parent, child, parent_info, True)
        for parent, child, parent_info in zip(chosen.tolist(), new.tolist(), estimated.info_P[chosen], strict=True)
    ]
    (row,) = operator_gains(told, pool_shrinkage(pool, measure, metric, skipped=skipped))
    many_P = np.repeat(spread_P[chosen], 20)
    true = [measure(table(rewards(scale * many_P, rng, N - skipped))).mean() for scale in (factor, 1)]
    return row | {"true": float(true[0] - true[1])}


@pytest.mark.parametrize("rewards", [normal, skewed])
@pytest.mark.parametrize("metric", ["a_min", "a_avg", "a_dts", "learnability"])
def test_an_operator_that_changes_nothing_gains_nothing(metric: str, rewards: Callable[..., Floats]) -> None:
    rows = [play(metric, rewards, 1.0, seed) for seed in range(12)]
    measured = np.mean([row["measured"] for row in rows])
    errors = np.array([row["change"] - row["true"] for row in rows])
    assert measured < -0.02, "the plain difference is biased"
    assert abs(errors.mean()) < 0.12 * abs(measured) + 2 * errors.std() / len(errors) ** 0.5


@pytest.mark.parametrize("factor", [0.7, 1.4])
def test_a_gain_and_a_loss_are_found_with_their_size(factor: float) -> None:
    rows = [play("a_min", normal, factor, seed) for seed in range(12)]
    errors = np.array([row["change"] - row["true"] for row in rows])
    assert abs(errors.mean()) < 0.03 + 2 * errors.std() / len(errors) ** 0.5
    assert np.sign(np.mean([row["change"] for row in rows])) == np.sign(factor - 1)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rows = [play("a_min", normal, 1.0, seed) for seed in range(100, 180)]
    # the truth of one pool: what its sampled parents would show in new responses
    covered = [row["low"] <= row["true"] <= row["high"] for row in rows]
    assert 0.88 <= np.mean(covered) <= 1.0
    excluded = [row["measured"] + (row["high"] - row["change"]) < row["true"] for row in rows]
    assert np.mean(excluded) > 0.5, "the plain difference misses the truth in most pools"


def test_children_behind_a_gate_are_compared_at_the_responses_that_it_did_not_see() -> None:
    rows = [play("a_min", normal, 1.0, seed, skipped=2) for seed in range(12)]
    errors = np.array([row["change"] - row["true"] for row in rows])
    assert abs(errors.mean()) < 0.03 + 2 * errors.std() / len(errors) ** 0.5
    assert np.mean([row["measured"] for row in rows]) < -0.5


def test_a_parent_measured_like_its_child_is_compared_as_measured() -> None:
    told = [ChildInfo("breadth", family, 1.0 + family, 0.5, False) for family in range(3)]
    (row,) = operator_gains(told, None)
    assert row["change"] == row["measured"] == pytest.approx(1.5) and row["low"] < 1.5 < row["high"]


def test_too_few_responses_to_shrink_leave_the_change_unknown_and_say_what_was_measured() -> None:
    pool = table(np.random.default_rng(0).normal(size=(50, 3)))
    assert pool_shrinkage(pool, lambda judged: estimate(judged).info_P, "a_min") is None
    (row,) = operator_gains([ChildInfo("breadth", 0, 1.0, 2.0, True), ChildInfo("breadth", 1, None, 2.0, True)], None)
    assert (row["children"], row["known"], row["change"], row["measured"]) == (2, 0, None, -1.0)


@pytest.mark.parametrize("gaps", [0, 1])
def test_a_pool_almost_without_gaps_has_a_shrinkage(gaps: int) -> None:
    rewards_P_N = np.zeros((12, N))
    rewards_P_N[:gaps, 3] = 1.0
    found = pool_shrinkage(table(rewards_P_N), lambda judged: estimate(judged).info_P, "a_min")
    assert found is not None and 0 <= found.expected(1.0) <= 1


def test_a_metric_that_wants_all_responses_leaves_the_change_unknown() -> None:
    def whole(judged: RewardTable) -> Floats:
        return estimate(judged, metric="tests.unit.eva.creator.test_operator_gain:six_only").info_P

    assert pool_shrinkage(table(np.random.default_rng(0).normal(size=(50, N))), whole, "own") is None


def six_only(rewards_P_N: Floats) -> Floats:
    return rewards_P_N[:, 5] - rewards_P_N[:, 0]


def test_copies_of_a_value_in_one_cluster_add_no_certainty() -> None:
    values = np.array([0.0, 1.0, 2.0, 5.0])
    single = clustered_error(values, np.arange(4))
    assert single == pytest.approx(values.std(ddof=1) / 2)
    assert clustered_error(np.repeat(values, 3), np.repeat(np.arange(4), 3)) == pytest.approx(single)
