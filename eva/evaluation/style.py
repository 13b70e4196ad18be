"""Computes win rates at equal style, by a Bradley-Terry fit on the style of responses and on who wrote them.

Arena-Hard 2.0's style control (Li et al. 2024, arXiv 2406.11939; the leaderboard's show_result.py).
Letters: Q compared pairs of responses, C kinds of verdict on them, F features, M models, K = M + F, R rounds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from eva.errors import InputError
from eva.evaluation.arena import ANCHOR, SCALE, ArenaScore, battles_from_judgments
from eva.evaluation.win_rates import interval
from eva.measures import audit
from eva.seeds import derive
from eva.types import Floats, Ints

FEATURES = tuple(audit.FEATURES)
"""Length, in characters or tokens, comes first; then counts of Markdown."""

ARENA_ORDER = ("token_len", "list_count", "header_count", "bold_count")
"""The names of FEATURES in Arena-Hard's answer files."""

_RIDGE = 1e-6
"""Keeps coefficients finite for models that won or lost everything, and for features that no response has."""


@dataclass(frozen=True, slots=True, eq=False)
class StyledResponses:
    """The counts of FEATURES in responses of `models_Q` and in the baseline's: [Q, F]."""

    models_Q: Sequence[str]
    counts_Q_F: Floats
    baseline_counts_Q_F: Floats


@dataclass(frozen=True, slots=True)
class StyleControl:
    """The models' scores at equal style, the best first, and the fit's coefficients by feature."""

    scores: list[ArenaScore]
    coefficients: dict[str, float]


def read_style(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], list[float]]:
    """Reads the counts of FEATURES by model and question from Arena-Hard 2.0's answer files (JSON Lines).

    A row has `model`, `uid` and `metadata`, whose counts are numbers or mappings from kinds to numbers. Raises
    InputError.
    """
    found: dict[tuple[str, str], list[float]] = {}
    for place, row in enumerate(rows):
        try:
            found[str(row["model"]), str(row["uid"])] = [_count(row["metadata"][name]) for name in ARENA_ORDER]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"answer {place} has the keys {sorted(row)}",
                expected=f"`model`, `uid` and `metadata` with {', '.join(ARENA_ORDER)}",
                next_move="Use Arena-Hard 2.0's model_answer files unchanged",
            ) from error
    return found


def _count(given: Any) -> float:
    """Returns a number, or the sum of a mapping's values."""
    kinds = cast("Mapping[str, float]", given)
    return float(sum(kinds.values())) if isinstance(given, Mapping) else float(given)


def styled_judgments(
    rows: Iterable[Mapping[str, Any]], style: Mapping[tuple[str, str], Sequence[float]], baseline: str
) -> tuple[StyledResponses, list[tuple[int, float]], int]:
    """Joins Arena-Hard 2.0's judgments with the responses' style: pairs, verdicts, and how many verdicts are missing.

    Raises InputError if a response is not in `style`.
    """
    models: list[str] = []
    counts: list[tuple[Sequence[float], Sequence[float]]] = []
    verdicts: list[tuple[int, float]] = []
    missing = 0
    for row in rows:
        battles, without = battles_from_judgments([row], baseline, whole_rows=True)
        missing += without
        if not battles:
            continue
        model, question = str(row["model"]), str(row.get("uid"))
        for name in (model, baseline):
            if (name, question) not in style:
                raise InputError(
                    f"the answer files have no answer of {name} to question {question}",
                    expected="the answers of every judged model and of the baseline",
                    next_move="Pass their files with --answers, or choose another --baseline",
                )
        verdicts += [(len(models), battle.score if battle.one == model else 1 - battle.score) for battle in battles]
        models.append(model)
        counts.append((style[model, question], style[baseline, question]))
    table_Q_2_F = np.array(counts, dtype=np.float64).reshape(len(counts), 2, len(FEATURES))
    return StyledResponses(models, table_Q_2_F[:, 0], table_Q_2_F[:, 1]), verdicts, missing


def style_differences(counts_Q_F: Floats, baseline_Q_F: Floats) -> Floats:
    """Returns (a - b) / (a + b) for the lengths, and (a - b) / (a + b + 1) for the other counts per length + 1."""
    length_Q, other_Q = counts_Q_F[:, :1], baseline_Q_F[:, :1]
    shares = [(length_Q - other_Q) / np.maximum(length_Q + other_Q, 1)]
    own_Q_F, others_Q_F = counts_Q_F[:, 1:] / (length_Q + 1), baseline_Q_F[:, 1:] / (other_Q + 1)
    return np.hstack([*shares, (own_Q_F - others_Q_F) / (own_Q_F + others_Q_F + 1)])


def style_scores(
    styled: StyledResponses,
    verdicts: Sequence[tuple[int, float]],
    baseline: str,
    *,
    centred: bool,
    seed: int,
    rounds: int = 100,
    level: float = 0.95,
) -> StyleControl:
    """Returns scores against the baseline from verdicts: (index of the pair in `styled`; 1, 1/2 or 0 for the model).

    The features' differences are divided by their standard deviation over the verdicts. `centred` also subtracts their
    means, as Arena-Hard 2.0 does: scores are then those at the average model's style, otherwise at the baseline's. The
    value is the fit to all verdicts; the interval comes from a bootstrap over verdicts. Raises InputError without a
    verdict.
    """
    if not verdicts:
        raise InputError("there is no verdict", expected="responses that were compared", next_move="Pass the judgments")
    models = sorted(set(styled.models_Q))
    index = {model: place for place, model in enumerate(models)}
    kinds = Counter(verdicts)
    pair_C = np.array([pair for pair, _ in kinds])
    score_C, counts_C = np.array([score for _, score in kinds]), np.array([*kinds.values()])
    style_Q_F = _scaled(style_differences(styled.counts_Q_F, styled.baseline_counts_Q_F), pair_C, counts_C, centred)
    who_Q_M = np.eye(len(models))[[index[model] for model in styled.models_Q]]
    design_Q_K = np.hstack([who_Q_M, style_Q_F])

    draw = np.random.default_rng(derive(seed, "style"))
    drawn_R_C = np.vstack([counts_C, draw.multinomial(len(verdicts), counts_C / len(verdicts), size=rounds)])
    played_R_Q, wins_R_Q = (
        np.array([np.bincount(pair_C, weights_C, len(design_Q_K)) for weights_C in weights_R_C], np.float64)
        for weights_R_C in (drawn_R_C, drawn_R_C * score_C)
    )
    fit_1_K = logistic(design_Q_K, wins_R_Q[:1], played_R_Q[:1])
    fits_R_K = np.vstack([fit_1_K, logistic(design_Q_K, wins_R_Q[1:], played_R_Q[1:], fit_1_K[0])])
    battles_M = np.bincount(pair_C, counts_C, len(design_Q_K)) @ who_Q_M
    scores = [
        ArenaScore(
            model,
            interval(float(share_R[0]), share_R[1:], level),
            interval(float(elo_R[0]), elo_R[1:], level),
            round(battles_M[place]),
        )
        for model, place in index.items()
        for share_R, elo_R in [(1 / (1 + np.exp(-fits_R_K[:, place])), ANCHOR + SCALE * fits_R_K[:, place])]
    ]
    even, level_elo = (interval(value, np.full(1, value)) for value in (0.5, ANCHOR))
    scores.append(ArenaScore(baseline, even, level_elo, len(verdicts)))
    return StyleControl(
        sorted(scores, key=lambda score: (-score.win_rate.value, score.model)),
        dict(zip(FEATURES, fits_R_K[0, len(models) :].tolist(), strict=True)),
    )


def logistic(
    design_Q_K: Floats,
    wins_R_Q: Floats,
    played_R_Q: Floats,
    start_K: Floats | None = None,
    *,
    steps: int = 100,
    tolerance: float = 1e-10,
) -> Floats:
    """Returns the maximum-likelihood coefficients of P(win) = sigmoid(design @ coefficients) of each round, [R, K].

    By Newton's method for all rounds at once; a step is at most 1 in each coefficient.
    """
    found_R_K: Floats = np.zeros((len(wins_R_Q), design_Q_K.shape[1]))
    if start_K is not None:
        found_R_K += start_K
    ridge_K_K = _RIDGE * np.eye(design_Q_K.shape[1])
    open_R = np.arange(len(wins_R_Q))
    for _ in range(steps):
        played_O_Q, at_O_K = played_R_Q[open_R], found_R_K[open_R]
        p_O_Q: Floats = 1 / (1 + np.exp(-at_O_K @ design_Q_K.T))
        slope_O_K: Floats = (wins_R_Q[open_R] - played_O_Q * p_O_Q) @ design_Q_K - _RIDGE * at_O_K
        weights_O_Q: Floats = played_O_Q * p_O_Q * (1 - p_O_Q)
        curvature_O_K_K = [(design_Q_K.T * weights_Q) @ design_Q_K + ridge_K_K for weights_Q in weights_O_Q]
        newton_O_K = np.linalg.solve(np.array(curvature_O_K_K), slope_O_K[:, :, None])[:, :, 0].astype(np.float64)
        step_O_K = np.clip(newton_O_K, -1, 1)
        found_R_K[open_R] = at_O_K + step_O_K
        open_R = open_R[np.abs(step_O_K).max(axis=1) >= tolerance]
        if not len(open_R):
            break
    return found_R_K


def _scaled(style_Q_F: Floats, pair_C: Ints, counts_C: Ints, centred: bool) -> Floats:
    """Scales features by their mean and deviation over the verdicts; features that do not vary become 0."""
    over_B_F = np.repeat(style_Q_F[pair_C], counts_C, axis=0)
    deviations_F = over_B_F.std(axis=0, ddof=1) if len(over_B_F) > 1 else np.zeros(len(FEATURES))
    moved_Q_F = style_Q_F - over_B_F.mean(axis=0) if centred else style_Q_F
    return np.where(deviations_F > 1e-12, moved_Q_F / np.where(deviations_F > 1e-12, deviations_F, 1), 0)
