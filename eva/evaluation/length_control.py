"""Computes AlpacaEval 2's length-controlled win rate (Dubois et al. 2024, arXiv 2404.04475) from its annotations.

It fits a logistic model of the judge's preference, without an intercept:

    P(model wins) = sigmoid(phi * tanh(delta / std(delta)) + psi * difficulty + theta)

`delta` is the baseline's length in characters minus the model's. The length-controlled win rate is the mean prediction
at delta = 0. Difficulties are a fixed number per instruction (published with AlpacaEval); without them psi drops out.
Five-fold cross-validation chooses the strength of the fit's L1 penalty, in each bootstrap round anew. AlpacaEval's
package fits the same with scikit-learn's liblinear; the figures agree up to that solver's tolerance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eva.errors import InputError
from eva.evaluation.win_rates import Interval, bootstrap, interval
from eva.types import Floats, Ints

FOLDS = 5
LEAST_PROMPTS = 100
"""Below so many preferences the penalty is chosen by chance: with 30, half of the figures are off by 6 to 12 points."""
_ROUNDS_AT_ONCE = 10
STRENGTHS = np.logspace(-4, 4, 10)
"""The inverse penalties to choose from."""
GAMED_WEIGHT = 0.2
"""Weight of the two gamed baselines' annotations, half for each; they stabilise the coefficient of length."""

_STEPS = 60
_HALVINGS = 12
_SWEEPS = 60
_TOLERANCE = 1e-12
_SUFFICIENT = 1e-4
"""The share of the decrease that a step promises which it must bring, or else it is halved."""


@dataclass(frozen=True, slots=True)
class LengthControlled:
    """The raw and the length-controlled win rate in [0, 1], and the fit's coefficients by name.

    `error` is AlpacaEval's `lc_standard_error`: the standard error of the mean of the predictions, which ignores the
    uncertainty of the fit. `interval` includes it; None unless bootstrap rounds were requested.
    """

    raw: float
    controlled: float
    error: float
    interval: Interval | None
    coefficients: dict[str, float]
    prompts: int


@dataclass(frozen=True, slots=True, eq=False)
class GamedAnnotations:
    """Annotations of gamed baselines (AlpacaEval's df_gamed.csv): a model's features, and preferences in [0, 1]."""

    preference_K: Floats
    std_delta_K: Floats
    difficulty_K: Floats


def length_controlled(
    preference_P: Floats,
    baseline_length_P: Floats,
    length_P: Floats,
    *,
    difficulty_P: Floats | None = None,
    gamed: GamedAnnotations | None = None,
    rounds: int = 0,
    seed: int = 0,
) -> LengthControlled:
    """Fits and predicts. `preference_P` in [0, 1] is the judge's probability that the model wins; NaN is not fitted.

    Lengths are in characters. The interval comes from `rounds` of a bootstrap over the fitted prompts, each of which
    chooses its own penalty. Raises InputError if there are fewer preferences than folds; `too_few` says whether there
    are enough for a figure that means something.
    """
    known_P = np.isfinite(preference_P)
    if known_P.sum() < FOLDS:
        raise InputError(
            f"there are only {int(known_P.sum())} preferences",
            expected=f"at least {FOLDS}",
            next_move="Judge more prompts",
        )
    delta_P = baseline_length_P - length_P
    deviation = delta_P.std(ddof=1)
    length_term_P = np.tanh(delta_P / deviation) if deviation > 0 else np.zeros(len(delta_P))
    names, columns = ["length", "model"], [length_term_P, np.ones(len(delta_P))]
    if difficulty_P is not None:
        names.insert(1, "difficulty")
        columns.insert(1, difficulty_P)
    design, target, weight = np.column_stack(columns)[known_P], preference_P[known_P], np.ones(int(known_P.sum()))
    if gamed is not None:
        design, target, weight = _with_gamed(design, target, weight, gamed)
    strength = best_strength(design, target, weight)
    coefficients = fit_at(design, target, weight, strength)
    at_equal_length = np.column_stack([np.zeros(len(delta_P)), *columns[1:]])
    predicted_P = sigmoid(at_equal_length @ coefficients)
    light = 0 if gamed is None else len(gamed.preference_K)

    def refitted(rows_R_K: Ints) -> Floats:
        drawn_R_K = np.array([np.bincount(rows_K, minlength=len(target) - light) for rows_K in rows_R_K])
        weight_R_K = weight * np.hstack([np.ones((len(rows_R_K), light)), drawn_R_K])
        parts = [weight_R_K[first : first + _ROUNDS_AT_ONCE] for first in range(0, len(weight_R_K), _ROUNDS_AT_ONCE)]
        fits_R_F = np.concatenate(
            [fit_all(design, target, part_R_K, best_strengths(design, target, part_R_K)) for part_R_K in parts]
        )
        return sigmoid(at_equal_length @ fits_R_F.T).mean(axis=0)

    means = bootstrap(refitted, int(known_P.sum()), seed=seed, rounds=rounds) if rounds else None
    controlled = float(predicted_P.mean())
    return LengthControlled(
        raw=float(preference_P[known_P].mean()),
        controlled=controlled,
        error=float(predicted_P.std(ddof=1) / len(predicted_P) ** 0.5),
        interval=None if means is None else interval(controlled, means),
        coefficients=dict(zip(names, coefficients.tolist(), strict=True)),
        prompts=int(known_P.sum()),
    )


def too_few(prompts: int) -> str | None:
    """Returns why so few preferences give no figure at equal length or style; None if they are enough."""
    if prompts >= LEAST_PROMPTS:
        return None
    return f"{prompts} preferences are too few for a fit: at least {LEAST_PROMPTS} are needed"


def best_strength(design_K_F: Floats, target_K: Floats, weight_K: Floats) -> float:
    """Returns the inverse penalty of the logistic regression with the best cross-validated log-likelihood."""
    return float(best_strengths(design_K_F, target_K, weight_K[None])[0])


def best_strengths(design_K_F: Floats, target_K: Floats, weight_R_K: Floats) -> Floats:
    """Returns the same for each row of weights, [R]. A fold's score is the mean over its rows with a weight."""
    rounds, fits = len(weight_R_K), FOLDS * len(STRENGTHS)
    folds_K = fold_of_rows(len(target_K))
    fold_C, strength_C = np.repeat(np.arange(FOLDS), len(STRENGTHS)), np.tile(STRENGTHS, FOLDS)
    held_out_C_K = folds_K == fold_C[:, None]
    fitted_RC_K = (weight_R_K[:, None] * ~held_out_C_K).reshape(rounds * fits, -1)
    fits_RC_F = fit_all(design_K_F, target_K, fitted_RC_K, np.tile(strength_C, rounds))
    p_RC_K = np.clip(sigmoid(fits_RC_F @ design_K_F.T), 1e-15, 1 - 1e-15)
    surprise_RC_K = target_K * np.log(p_RC_K) + (1 - target_K) * np.log(1 - p_RC_K)
    held_R_C_K = weight_R_K[:, None] * held_out_C_K
    drawn_R_C = np.maximum(1, ((weight_R_K > 0)[:, None] & held_out_C_K).sum(axis=2))
    score_R_C = (surprise_RC_K.reshape(rounds, fits, -1) * held_R_C_K).sum(axis=2) / drawn_R_C
    return STRENGTHS[score_R_C.reshape(rounds, FOLDS, -1).sum(axis=1).argmax(axis=1)]


def fit_at(design_K_F: Floats, target_K: Floats, weight_K: Floats, strength: float) -> Floats:
    """argmin over w of |w|_1 + strength * sum_k weight_k * crossentropy(target_k, sigmoid(x_k w)), [F]."""
    return fit_all(design_K_F, target_K, weight_K[None], np.array([strength]))[0]


def fit_all(design_K_F: Floats, target_K: Floats, weight_R_K: Floats, strength_R: Floats) -> Floats:
    """Returns one fit per row of weights and strength, like `fit_at`, [R, F]: proximal Newton steps, all rows at once.

    `open_R` are the rows that still move; the others are done.
    """
    found_R_F = np.zeros((len(weight_R_K), design_K_F.shape[1]))
    weight_R_K = strength_R[:, None] * weight_R_K
    squares_K_FF = (design_K_F[:, :, None] * design_K_F[:, None, :]).reshape(len(design_K_F), -1)

    def objective(at_R_F: Floats, open_R: Ints) -> Floats:
        margin_R_K = at_R_F @ design_K_F.T
        loss_R_K = np.logaddexp(0, margin_R_K) - target_K * margin_R_K
        return np.abs(at_R_F).sum(axis=1) + (weight_R_K[open_R] * loss_R_K).sum(axis=1)

    open_R = np.arange(len(found_R_F))
    value_R = objective(found_R_F, open_R)
    for _ in range(_STEPS):
        at_R_F = found_R_F[open_R]
        p_R_K = sigmoid(at_R_F @ design_K_F.T)
        slope_R_F = (weight_R_K[open_R] * (p_R_K - target_K)) @ design_K_F
        curvature_R_FF = (weight_R_K[open_R] * p_R_K * (1 - p_R_K)) @ squares_K_FF
        curvature_R_F_F = curvature_R_FF.reshape(len(open_R), *[design_K_F.shape[1]] * 2)
        step_R_F = _lasso_steps(at_R_F, slope_R_F, curvature_R_F_F + 1e-9 * np.eye(design_K_F.shape[1]))
        gain_R = (
            -(slope_R_F * step_R_F).sum(axis=1) + np.abs(at_R_F).sum(axis=1) - np.abs(at_R_F + step_R_F).sum(axis=1)
        )
        size_R = np.ones(len(open_R))
        after_R = objective(at_R_F + step_R_F, open_R)
        for _ in range(_HALVINGS):
            long_R = np.flatnonzero(after_R > value_R - _SUFFICIENT * size_R * gain_R)
            if not len(long_R):
                break
            size_R[long_R] /= 2
            after_R[long_R] = objective((at_R_F + size_R[:, None] * step_R_F)[long_R], open_R[long_R])
        better_R = after_R < value_R
        found_R_F[open_R[better_R]] = (at_R_F + size_R[:, None] * step_R_F)[better_R]
        moving_R = value_R - after_R > _TOLERANCE * np.maximum(1, value_R)
        open_R, value_R = open_R[moving_R], after_R[moving_R]
        if not len(open_R):
            break
    return found_R_F


def fold_of_rows(count: int) -> Ints:
    """Returns the fold of each row: in turn from the last row backwards, like scikit-learn's GroupKFold."""
    return (count - 1 - np.arange(count)) % FOLDS


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), for any x."""
    return np.exp(-np.logaddexp(0, -x))


def _lasso_steps(at_R_F: Floats, slope_R_F: Floats, curvature_R_F_F: Floats) -> Floats:
    """argmin over d of slope d + d curvature d / 2 + |at + d|_1 in each row, one coordinate after the other, [R, F]."""
    step_R_F = np.zeros_like(at_R_F)
    for _ in range(_SWEEPS):
        before_R_F = step_R_F.copy()
        for place in range(at_R_F.shape[1]):
            curvature_R, now_R = curvature_R_F_F[:, place, place], at_R_F[:, place] + step_R_F[:, place]
            pull_R = slope_R_F[:, place] + (curvature_R_F_F[:, place] * step_R_F).sum(axis=1)
            target_R = curvature_R * now_R - pull_R
            shrunk_R = np.sign(target_R) * np.maximum(np.abs(target_R) - 1, 0) / curvature_R
            step_R_F[:, place] = shrunk_R - at_R_F[:, place]
        if np.abs(step_R_F - before_R_F).max() < _TOLERANCE:
            break
    return step_R_F


def _with_gamed(
    design: Floats, target: Floats, weight: Floats, gamed: GamedAnnotations
) -> tuple[Floats, Floats, Floats]:
    """Puts the gamed baselines' rows first: their own lengths and difficulties, and 0 for the model's coefficient."""
    columns = [np.tanh(gamed.std_delta_K), gamed.difficulty_K, np.zeros(len(gamed.preference_K))]
    rows = np.column_stack(columns if design.shape[1] == 3 else [columns[0], columns[2]])
    light = np.full(len(rows), GAMED_WEIGHT / 2)
    return (
        np.concatenate([rows, design]),
        np.concatenate([gamed.preference_K, target]),
        np.concatenate([light, weight]),
    )
