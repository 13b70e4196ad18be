"""Computes AlpacaEval 2's length-controlled win rate (Dubois et al. 2024, arXiv 2404.04475) from its annotations.

It fits a logistic model of the judge's preference, without an intercept:

    P(model wins) = sigmoid(phi * tanh(delta / std(delta)) + psi * difficulty + theta)

`delta` is the baseline's length in characters minus the model's. The length-controlled win rate is the mean prediction
at delta = 0. Difficulties are a fixed number per instruction (published with AlpacaEval); without them psi drops out.
Five-fold cross-validation chooses the strength of the fit's L1 penalty. AlpacaEval's package does the same with
scikit-learn's liblinear; the figures agree up to that solver's tolerance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eva.errors import InputError
from eva.evaluation.win_rates import Interval, bootstrap, interval
from eva.types import Floats, Ints

FOLDS = 5
STRENGTHS = np.logspace(-4, 4, 10)
"""The inverse penalties to choose from."""
GAMED_WEIGHT = 0.2
"""Weight of the two gamed baselines' annotations, half for each; they stabilise the coefficient of length."""

_STEPS = 60
_HALVINGS = 12
_SWEEPS = 60
_TOLERANCE = 1e-12


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

    Lengths are in characters. The interval comes from `rounds` of a bootstrap over the fitted prompts, with the penalty
    that was chosen for all of them. Raises InputError if there are fewer preferences than folds.
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
        kept = [np.concatenate([np.arange(light), light + rows_K]) for rows_K in rows_R_K]
        return np.array(
            [
                sigmoid(at_equal_length @ fit_at(design[rows], target[rows], weight[rows], strength)).mean()
                for rows in kept
            ]
        )

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


def best_strength(design_K_F: Floats, target_K: Floats, weight_K: Floats) -> float:
    """Returns the inverse penalty of the logistic regression with the best cross-validated log-likelihood."""
    folds_K = fold_of_rows(len(target_K))
    scores: list[float] = []
    for strength in STRENGTHS:
        score = 0.0
        for fold in range(FOLDS):
            inside = folds_K != fold
            found = fit_at(design_K_F[inside], target_K[inside], weight_K[inside], float(strength))
            p = np.clip(sigmoid(design_K_F[~inside] @ found), 1e-15, 1 - 1e-15)
            y = target_K[~inside]
            score += float((weight_K[~inside] * (y * np.log(p) + (1 - y) * np.log(1 - p))).mean())
        scores.append(score)
    return float(STRENGTHS[int(np.argmax(scores))])


def fit_at(design_K_F: Floats, target_K: Floats, weight_K: Floats, strength: float) -> Floats:
    """argmin |w|_1 + strength * sum_k weight_k * crossentropy(target_k, sigmoid(x_k w)): proximal Newton steps, [F]."""
    found_F = np.zeros(design_K_F.shape[1])

    def objective(at_F: Floats) -> float:
        margin_K = design_K_F @ at_F
        loss_K = np.logaddexp(0, margin_K) - target_K * margin_K
        return float(np.abs(at_F).sum() + strength * (weight_K * loss_K).sum())

    value = objective(found_F)
    for _ in range(_STEPS):
        p_K = sigmoid(design_K_F @ found_F)
        slope_F = strength * design_K_F.T @ (weight_K * (p_K - target_K))
        curvature_F_F = strength * (design_K_F * (weight_K * p_K * (1 - p_K))[:, None]).T @ design_K_F
        step_F = _lasso_step(found_F, slope_F, curvature_F_F + 1e-9 * np.eye(len(found_F)))
        tried = [(objective(at_F), at_F) for at_F in (found_F + step_F / 2**halved for halved in range(_HALVINGS))]
        after, at_F = min(tried, key=lambda one: one[0])
        if value - after <= _TOLERANCE * max(1.0, value):
            break
        found_F, value = at_F, after
    return found_F


def fold_of_rows(count: int) -> Ints:
    """Returns the fold of each row: in turn from the last row backwards, like scikit-learn's GroupKFold."""
    return (count - 1 - np.arange(count)) % FOLDS


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), for any x."""
    return np.exp(-np.logaddexp(0, -x))


def _lasso_step(at_F: Floats, slope_F: Floats, curvature_F_F: Floats) -> Floats:
    """argmin over d of slope d + d curvature d / 2 + |at + d|_1, one coordinate after the other."""
    new_F = at_F.copy()
    for _ in range(_SWEEPS):
        before_F = new_F.copy()
        for place in range(len(new_F)):
            curvature = curvature_F_F[place, place]
            target = curvature * new_F[place] - slope_F[place] - curvature_F_F[place] @ (new_F - at_F)
            new_F[place] = np.sign(target) * max(abs(target) - 1, 0) / curvature
        if np.abs(new_F - before_F).max() < _TOLERANCE:
            break
    return new_F - at_F


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
