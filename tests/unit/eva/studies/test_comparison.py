"""Intervals and tests of a study's figures are right where the truth is known."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest
import scipy.stats

from eva.studies.comparison import MOST_EXACT, Outcomes, SignFlips, holm, paired, seed_values, sign_flips, spread
from eva.studies.power import POWER, coverage, detectable, planned, smallest_difference
from eva.types import Floats

STUDIES = 1_000
ROUNDS = 400
"""Enough for coverage: the noise of an interval's ends averages out over studies."""


@dataclass(frozen=True, slots=True)
class World:
    """Where simulated studies come from: how much seeds, prompts and models change the difference between two arms.

    Each run gives `responses` right or wrong responses to each of `prompts` prompts, which all runs share.
    """

    difference: float = 0.05
    of_seeds: float = 0.03
    of_prompts: float = 0.1
    of_models: float = 0.02
    models: int = 2
    prompts: int = 60
    responses: int = 2
    seeds: Literal["normal", "skewed"] = "normal"

    def study(self, draw: np.random.Generator, seeds: int) -> tuple[Outcomes, Outcomes]:
        """The outcomes of two arms; the mean of their difference over all seeds, prompts and responses is known."""
        effect_S = draw.normal(size=seeds) if self.seeds == "normal" else draw.exponential(size=seeds) - 1
        effect_M = self.of_models * (np.arange(self.models) - (self.models - 1) / 2)
        effect_P = draw.normal(scale=self.of_prompts, size=self.prompts)
        easy_P = draw.uniform(0.3, 0.5, self.prompts)
        effect_S_M_1 = self.of_seeds * effect_S[:, None, None] + effect_M[:, None]
        better_R_P = (easy_P + self.difference + effect_P + effect_S_M_1).reshape(-1, self.prompts)
        rates_R_P = np.clip(better_R_P, 0, 1), np.broadcast_to(easy_P, better_R_P.shape)
        seeds_R = np.repeat(np.arange(seeds), self.models)
        models_R = tuple(f"m{model}" for _ in range(seeds) for model in range(self.models))
        one, other = (
            Outcomes(seeds_R, models_R, draw.binomial(self.responses, rates) / self.responses) for rates in rates_R_P
        )
        return one, other


def _outcomes(values_S: Floats, model: str = "m") -> Outcomes:
    """One run per seed, whose figure is not made of prompts."""
    return Outcomes(np.arange(len(values_S)), (model,) * len(values_S), values_S[:, None])


@pytest.mark.parametrize("seeds", [5, 10, 30])
@pytest.mark.parametrize(
    "world",
    [
        World(),
        World(seeds="skewed"),
        World(difference=0, of_seeds=0, of_prompts=0, of_models=0),
    ],
    ids=["crossed", "skewed", "repeated_arm"],
)
def test_95_percent_intervals_cover_the_truth_in_93_to_97_of_100_studies(world: World, seeds: int) -> None:
    draw = np.random.default_rng(seeds)
    intervals: list[tuple[float, float]] = []
    for number in range(STUDIES):
        found = spread(paired(*world.study(draw, seeds)), seed=number, rounds=ROUNDS)
        assert found is not None and found.low is not None and found.high is not None
        intervals.append((found.low, found.high))
    share = coverage(intervals, world.difference)
    assert 0.93 <= share.covered / share.total <= 0.97


def test_intervals_that_leave_out_the_shared_prompts_or_the_small_number_of_seeds_cover_too_rarely() -> None:
    # that the test above can fail: what a plain percentile bootstrap over seeds would do in the same worlds
    shares: dict[int, float] = {}
    for seeds in (5, 30):
        draw, covered = np.random.default_rng(seeds), 0
        for _ in range(STUDIES):
            found = paired(*World().study(draw, seeds))
            means_S = seed_values(found.seeds_R, found.models_R, found.values_R_P).mean(axis=1)
            low, high = np.quantile(means_S[draw.integers(seeds, size=(ROUNDS, seeds))].mean(axis=1), [0.025, 0.975])
            covered += low <= World().difference <= high
        shares[seeds] = covered / STUDIES
    assert shares[5] < 0.85 and shares[30] < 0.85


def test_a_figure_without_prompts_has_students_interval() -> None:
    values_S = np.random.default_rng(3).normal(0.4, 0.05, 8)
    found = spread(_outcomes(values_S), seed=1)
    student = scipy.stats.ttest_1samp(values_S, 0).confidence_interval()
    assert found is not None and found.low is not None and found.high is not None
    assert found.value == pytest.approx(values_S.mean()) and found.degrees == pytest.approx(7)
    assert found.error == pytest.approx(scipy.stats.sem(values_S)) and found.error_of_prompts == 0
    # the ends come from a bootstrap, which follows the shape of the eight values
    assert (found.low, found.high) == pytest.approx((student.low, student.high), abs=0.1 * (student.high - student.low))


def test_one_seed_has_a_mean_and_no_interval_and_no_runs_have_nothing() -> None:
    found = spread(_outcomes(np.array([0.5])), seed=1)
    assert found is not None and (found.value, found.low, found.high, found.error) == (0.5, None, None, None)
    assert detectable(found) is None
    assert spread(_outcomes(np.array([])), seed=1) is None and sign_flips(_outcomes(np.array([])), seed=1) is None


def test_runs_are_paired_by_seed_and_model_and_prompts_without_a_value_are_left_out() -> None:
    one = Outcomes(
        np.array([1, 2, 2]), ("a", "a", "b"), np.array([[0.5, 1.0, 0.0], [0.0, np.nan, 1.0], [1.0, 1.0, 1.0]])
    )
    other = Outcomes(
        np.array([2, 1, 3]), ("a", "a", "a"), np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [9.0, 9.0, 9.0]])
    )
    differences = paired(one, other)
    assert differences.seeds_R.tolist() == [1, 2] and differences.models_R == ("a", "a")
    found = spread(differences, seed=1)
    assert found is not None and (found.runs, found.prompts, found.left_out) == (2, 2, 1)
    assert found.value == pytest.approx((0.5 + 0.0 - 1.0 + 1.0) / 4)


def test_each_given_model_weighs_the_same_though_a_run_is_missing() -> None:
    seeds_R, models_R = np.array([0, 0, 1, 1, 2]), ("a", "b", "a", "b", "a")
    values_R_P = np.array([[0.1], [0.6], [0.2], [0.8], [0.3]])
    rows_S = seed_values(seeds_R, models_R, values_R_P)[:, 0]
    assert rows_S.mean() == pytest.approx((0.2 + 0.7) / 2)
    # the missing run leaves no trace of its model in its seed's row: the third seed is high among those of model a
    assert rows_S[2] == pytest.approx(0.45 + 3 / 2 * (0.3 - 0.2) / 3)
    complete = seed_values(seeds_R[:4], models_R[:4], values_R_P[:4])[:, 0]
    assert complete == pytest.approx([0.35, 0.5])


def test_a_repeated_pair_of_seed_and_model_is_refused() -> None:
    with pytest.raises(ValueError, match="two runs with the same seed and given model"):
        Outcomes(np.array([1, 1]), ("a", "a"), np.zeros((2, 1)))


def test_sign_flips_are_all_counted_for_few_seeds_and_drawn_for_many() -> None:
    values_S = np.random.default_rng(5).normal(0.03, 0.05, 7)
    flips = [abs(np.dot(signs, values_S)) for signs in itertools.product([-1, 1], repeat=7)]
    by_hand = np.mean([flip >= abs(values_S.sum()) - 1e-12 for flip in flips])
    found = sign_flips(_outcomes(values_S), seed=1)
    assert found is not None and (found.exact, found.flips) == (True, 128) and found.p == pytest.approx(by_hand)

    many_S = np.random.default_rng(5).normal(0.01, 0.05, MOST_EXACT + 14)
    drawn = sign_flips(_outcomes(many_S), seed=1)
    assert drawn is not None and not drawn.exact
    assert drawn.p == pytest.approx(scipy.stats.ttest_1samp(many_S, 0)[1], abs=0.02)

    never_different = sign_flips(_outcomes(np.zeros(4)), seed=1)
    assert never_different is not None and never_different.p == 1


def test_one_seed_proves_nothing_by_flipping_its_sign() -> None:
    assert sign_flips(_outcomes(np.array([0.3])), seed=1) == SignFlips(1.0, exact=True, flips=2)


def test_the_runs_of_a_seed_flip_together() -> None:
    # three seeds on two models: 2^3 flips, not 2^6
    differences = Outcomes(np.array([0, 0, 1, 1, 2, 2]), ("a", "b") * 3, np.full((6, 1), 0.1))
    found = sign_flips(differences, seed=1)
    assert found is not None and (found.flips, found.p) == (8, 0.25)


def test_an_arm_repeated_is_rejected_in_at_most_5_of_100_studies() -> None:
    draw, world = np.random.default_rng(1), World(difference=0, of_prompts=0, of_models=0)
    rejected = sum(
        found.p <= 0.05 for _ in range(400) if (found := sign_flips(paired(*world.study(draw, 7)), seed=1)) is not None
    )
    assert 0.02 <= rejected / 400 <= 0.065


def test_the_smallest_difference_is_found_in_80_of_100_studies() -> None:
    draw, seeds, deviation = np.random.default_rng(2), 6, 0.05
    difference = planned(deviation, seeds)
    values = draw.normal(difference, deviation, size=(20_000, seeds))
    found = np.abs(values.mean(axis=1)) > scipy.stats.t.ppf(0.975, seeds - 1) * scipy.stats.sem(values, axis=1)
    assert found.mean() == pytest.approx(POWER, abs=0.01)
    assert smallest_difference(2 * deviation / seeds**0.5, seeds - 1) == pytest.approx(2 * difference)
    assert smallest_difference(0, 5) == 0
    with pytest.raises(ValueError, match="at least two seeds"):
        planned(deviation, 1)


def test_p_values_of_several_comparisons_are_adjusted_by_holms_rule() -> None:
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.6, 0.9]) == [1.0, 1.0] and holm([]) == []
