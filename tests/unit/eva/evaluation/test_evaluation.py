"""Win rates, length control and arena scores agree with numbers computed by hand and known strengths."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

from eva.errors import InputError
from eva.evaluation import length_control
from eva.evaluation.alpaca import leaderboard_row, read_annotations
from eva.evaluation.arena import Battle, arena_scores, battles_from_judgments
from eva.evaluation.length_control import GamedAnnotations, length_controlled, sigmoid
from eva.evaluation.win_rates import difference, preferences, win_rate
from eva.types import Floats


def test_a_preference_compares_two_rewards_and_needs_both() -> None:
    rewards, baseline = np.array([2.0, 1, 1, np.nan, 1]), np.array([1.0, 1, 2, 1, np.nan])
    np.testing.assert_array_equal(preferences(rewards, baseline), [1, 0.5, 0, np.nan, np.nan])


def test_a_win_rate_by_hand() -> None:
    won = win_rate(np.array([1.0, 1, 0.5, 0, np.nan]), seed=1)
    assert won is not None
    assert (won.rate.value, won.wins, won.losses, won.ties, won.prompts, won.missing) == (0.625, 2, 1, 1, 4, 1)
    assert won.error == pytest.approx(math.sqrt((2 * 0.375**2 + 0.125**2 + 0.625**2) / 3 / 4))
    assert won.rate.low < 0.625 < won.rate.high
    assert win_rate(np.array([np.nan]), seed=1) is None
    assert math.isnan((win_rate(np.array([1.0]), seed=1) or won).error)


def test_the_bootstrap_interval_is_seeded_and_as_wide_as_theory_says() -> None:
    rng = np.random.default_rng(0)
    preference = (rng.random(900) < 0.6).astype(np.float64)
    one, same, other = (win_rate(preference, seed=seed) for seed in (3, 3, 4))
    assert one is not None and one == same and other is not None and one.rate != other.rate
    assert one.rate.high - one.rate.low == pytest.approx(2 * 1.96 * one.error, rel=0.1)


def test_95_percent_intervals_contain_the_truth_95_times_in_100() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(300):
        won = win_rate((rng.random(200) < 0.3).astype(np.float64), seed=seed, rounds=200)
        assert won is not None
        held += won.rate.low <= 0.3 <= won.rate.high
    assert 0.90 < held / 300 < 0.99


def test_pairing_by_prompt_makes_a_difference_sharper() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(400)
    one, other = (hard < 0.5).astype(np.float64), (hard < 0.45).astype(np.float64)
    gain = difference(one, other, seed=1)
    assert gain is not None and gain.value == pytest.approx(one.mean() - other.mean()) and gain.low > 0
    shuffled = difference(one, rng.permutation(other), seed=1)
    assert shuffled is not None and shuffled.high - shuffled.low > 2 * (gain.high - gain.low)
    assert difference(np.array([np.nan, 1]), np.array([1, np.nan]), seed=1) is None


def annotation(preference: float | None, baseline: int, model: int) -> dict[str, Any]:
    return {
        "instruction": "i",
        "generator_1": "base",
        "generator_2": "m",
        "annotator": "judge",
        "output_1": "x" * baseline,
        "output_2": "y" * model,
        "preference": preference,
    }


def test_alpaca_annotations_give_the_published_kinds_of_figures() -> None:
    # preferences minus one: 1, 0, 0.75, draw, draw (old code for it), 0.25; one none, one out of range
    given = [2.0, 1.0, 1.75, 1.5, 0, 1.25, None, 3.0]
    rows = [annotation(preference, 10, 20 + place) for place, preference in enumerate(given)]
    row = leaderboard_row(rows, seed=1)
    expected = np.array([1, 0, 0.75, 0.5, 0.5, 0.25])
    assert row["win_rate"] == pytest.approx(100 * expected.mean())
    assert row["standard_error"] == pytest.approx(100 * expected.std(ddof=1) / math.sqrt(6))
    assert (row["n_wins"], row["n_wins_base"], row["n_draws"], row["n_total"]) == (2, 2, 2, 6)
    assert row["discrete_win_rate"] == pytest.approx(50.0)
    assert row["avg_length"] == 23
    with pytest.raises(InputError, match=r"annotation 0 has no output_2"):
        read_annotations([{"output_1": "a", "preference": 1}])
    with pytest.raises(InputError, match="no annotation has a preference"):
        leaderboard_row([annotation(None, 1, 1)], seed=1)


def loss(at: Floats, design: Floats, target: Floats, weight: Floats, strength: float) -> float:
    margin = design @ at
    surprise = target * np.logaddexp(0, -margin) + (1 - target) * np.logaddexp(0, margin)
    return float(np.abs(at).sum() + strength * (weight * surprise).sum())


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.01, 0.3, 5.0, 10_000.0]))
def test_the_penalised_fit_is_the_minimum_that_scipy_finds(seed: int, strength: float) -> None:
    rng = np.random.default_rng(seed)
    design, weight = rng.normal(size=(60, 3)) @ np.diag([1, 3, 0.3]), rng.random(60)
    target = rng.random(60)
    found = length_control.fit_at(design, target, weight, strength)
    best = scipy.optimize.minimize(  # w = u - v with u, v >= 0, where the penalty is smooth
        lambda uv: loss(uv[:3] - uv[3:], design, target, weight, strength) - np.abs(uv[:3] - uv[3:]).sum() + uv.sum(),
        np.full(6, 0.1),
        bounds=[(0, None)] * 6,
        options={"ftol": 1e-14, "gtol": 1e-9},
    )
    assert loss(found, design, target, weight, strength) <= best.fun * (1 + 1e-9) + 1e-9
    # a fit does not depend on the ones that are made with it
    weight_R_K, strength_R = np.vstack([rng.random((2, 60)), weight]), np.array([0.01, 10_000.0, strength])
    together = length_control.fit_all(design, target, weight_R_K, strength_R)
    np.testing.assert_allclose(together[2], found, atol=1e-6)


def judged(count: int, phi: float, theta: float, psi: float, seed: int = 0) -> tuple[Floats, Floats, Floats, Floats]:
    """Returns soft preferences that follow the model exactly; the model's responses are 300 characters longer."""
    rng = np.random.default_rng(seed)
    baseline = rng.integers(500, 1500, count).astype(np.float64)
    length = baseline + np.round(rng.normal(300, 400, count))
    difficulty = rng.normal(0, 1, count)
    delta = baseline - length
    return sigmoid(phi * np.tanh(delta / delta.std(ddof=1)) + psi * difficulty + theta), baseline, length, difficulty


def test_length_control_undoes_a_bias_for_length_and_finds_the_coefficients() -> None:
    preference, baseline, length, difficulty = judged(805, phi=-1.5, theta=-0.4, psi=0.9)
    found = length_controlled(preference, baseline, length, difficulty_P=difficulty)
    truth = sigmoid(-0.4 + 0.9 * difficulty).mean()
    assert found.raw > truth + 0.1
    assert found.controlled == pytest.approx(truth, abs=0.002)
    assert found.coefficients == pytest.approx({"length": -1.5, "difficulty": 0.9, "model": -0.4}, abs=0.02)


def test_the_interval_covers_the_truth_where_a_figure_is_given() -> None:
    covered: list[bool] = []
    for seed in range(24):
        soft, baseline, length, _ = judged(length_control.LEAST_PROMPTS, phi=-0.8, theta=0.6, psi=0.0, seed=seed)
        verdicts = (np.random.default_rng(seed).random(len(soft)) < soft).astype(np.float64)
        found = length_controlled(verdicts, baseline, length, rounds=40, seed=seed)
        assert found.interval is not None and found.interval.high - found.interval.low > 0.05
        covered.append(found.interval.low <= float(sigmoid(np.array(0.6))) <= found.interval.high)
    assert np.mean(covered) >= 0.8


def test_each_round_of_the_bootstrap_chooses_its_own_penalty() -> None:
    rng = np.random.default_rng(1)
    design = rng.normal(0, 1, (120, 2))
    target = (rng.random(120) < sigmoid(design @ np.array([0.9, -0.2]))).astype(np.float64)
    weight_R_K = rng.multinomial(120, np.full(120, 1 / 120), 6).astype(np.float64)
    chosen_R = length_control.best_strengths(design, target, weight_R_K)
    assert len(set(chosen_R.tolist())) > 1
    alone = [length_control.best_strength(design, target, weight_K) for weight_K in weight_R_K]
    np.testing.assert_array_equal(chosen_R, alone)


@pytest.mark.parametrize("count", [5, 13, 805, 2415])
def test_the_folds_are_those_of_the_published_code(count: int) -> None:
    """AlpacaEval has every row twice, as won and as lost, in one group; scikit-learn's GroupKFold takes the groups by
    size, of equal ones the last first, and puts each into the first of the lightest folds."""
    sizes = np.bincount(np.tile(np.arange(count), 2))
    loads, folds = np.zeros(length_control.FOLDS), np.zeros(count, dtype=int)
    for group in np.argsort(sizes, kind="stable")[::-1]:
        folds[group] = np.argmin(loads)
        loads[folds[group]] += sizes[group]
    assert length_control.fold_of_rows(count).tolist() == folds.tolist()


def test_without_a_difference_in_length_control_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    preference, length = rng.random(400), np.full(400, 100.0)
    found = length_controlled(preference, length, length)
    assert found.controlled == pytest.approx(found.raw, abs=1e-3)
    assert list(found.coefficients) == ["length", "model"]


def test_gamed_rows_stabilise_the_length_coefficient() -> None:
    preference, baseline, length, difficulty = judged(100, phi=4.0, theta=0.0, psi=0.5)
    rng = np.random.default_rng(2)
    std_delta, hard = rng.normal(0, 1, 5000), rng.normal(0, 1, 5000)
    gamed = GamedAnnotations(sigmoid(-2 * np.tanh(std_delta) + 0.5 * hard), std_delta, hard)
    alone = length_controlled(preference, baseline, length, difficulty_P=difficulty)
    held = length_controlled(preference, baseline, length, difficulty_P=difficulty, gamed=gamed)
    assert alone.coefficients["length"] > 3.5 and held.coefficients["length"] < 0


def test_unjudged_prompts_are_predicted_but_not_fitted_and_few_are_refused() -> None:
    preference, baseline, length, difficulty = judged(300, -1.0, 0.3, 0.5)
    known = np.where(np.arange(300) < 250, preference, np.nan)
    found = length_controlled(known, baseline, length, difficulty_P=difficulty)
    assert found.prompts == 250 and found.controlled == pytest.approx(sigmoid(0.3 + 0.5 * difficulty).mean(), abs=0.01)
    with pytest.raises(InputError, match="4 preferences"):
        length_controlled(preference[:4], baseline[:4], length[:4])


def judgment(model: str, *labels: str | None) -> dict[str, Any]:
    return {
        "question_id": "q",
        "model": model,
        "judge": "j",
        "games": [{"user_prompt": "", "judgment": "", "score": label} for label in labels],
    }


def test_arena_judgments_become_battles_with_swapped_sides_and_weights() -> None:
    rows = [judgment("m", "A>>B", "A>B"), judgment("m", "B>A", None), judgment("m", "A=B", "B>>A")]
    battles, missing = battles_from_judgments(rows, "base")
    assert missing == 1
    # game 1 shows the baseline as A: 3 battles lost, then one won, then a draw; game 2 the model: won, -, 3 lost
    assert battles == [
        *[Battle("base", "m", 1.0)] * 3,
        Battle("m", "base", 1.0),
        Battle("base", "m", 0.0),
        Battle("base", "m", 0.5),
        *[Battle("m", "base", 0.0)] * 3,
    ]
    (base, model) = arena_scores(battles, "base", seed=1)
    assert (base.model, base.win_rate.value, base.elo.value) == ("base", 0.5, 1000.0)
    assert model.win_rate.value == pytest.approx(2.5 / 9, abs=1e-5) and model.battles == 9
    assert model.elo.value == pytest.approx(1000 + 400 * math.log10(2.5 / 6.5), abs=1e-2)
    assert battles_from_judgments(rows, "base", whole_rows=True) == (
        [battle for place, battle in enumerate(battles) if place != 4],
        2,
    )


def test_a_file_of_another_kind_and_a_missing_baseline_are_refused() -> None:
    with pytest.raises(InputError, match=r"judgment 0 has the keys \['prompt'\]"):
        battles_from_judgments([{"prompt": "x"}], "base")
    with pytest.raises(InputError, match="one of: a, b"):
        arena_scores([Battle("a", "b", 1.0)], "base", seed=1)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.floats(-1.5, 1.5), min_size=3, max_size=5), st.integers(0, 1000))
def test_arena_scores_recover_known_strengths(strengths: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = [f"model {place}" for place in range(len(strengths))]
    battles: list[Battle] = []
    for i, one in enumerate(names):
        for j in range(i):
            wins = rng.random(1500) < sigmoid(np.array(strengths[i] - strengths[j]))
            battles += [Battle(one, names[j], float(win)) for win in wins]
    scores = {score.model: score for score in arena_scores(battles, names[0], seed=1, rounds=50)}
    for name, strength in zip(names, strengths, strict=True):
        truth = 1000 + (strength - strengths[0]) * 400 / math.log(10)
        assert scores[name].elo.value == pytest.approx(truth, abs=60)
        assert scores[name].elo.low <= scores[name].elo.value <= scores[name].elo.high
    # who beat whom indirectly counts too, and nothing depends on how the models are called or ordered
    mirrored = [Battle(battle.other, battle.one, 1 - battle.score) for battle in reversed(battles)]
    for score in arena_scores(mirrored, names[0], seed=1, rounds=10):
        assert score.elo.value == pytest.approx(scores[score.model].elo.value, abs=1e-6)


def test_a_model_that_never_wins_has_a_finite_score_and_does_not_affect_others() -> None:
    others = [Battle("a", "base", 1.0), Battle("a", "base", 0.0), Battle("a", "base", 1.0)] * 50
    scores = arena_scores([*others, *[Battle("loser", "base", 0.0)] * 100], "base", seed=1)
    assert [score.model for score in scores] == ["a", "base", "loser"]
    assert scores[0].win_rate.value == pytest.approx(2 / 3, abs=1e-4)
    assert scores[2].win_rate.value < 1e-3 and math.isfinite(scores[2].elo.value)
