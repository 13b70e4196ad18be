"""Computes Bradley-Terry scores with bootstrap intervals from battles, as Arena-Hard does.

Source: Li et al. 2024, "From Crowdsourced Data to High-Quality Benchmarks", arXiv 2406.11939.
Letters: B battles, C kinds of battle, M models, R rounds of the bootstrap.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from eva.errors import InputError
from eva.evaluation.win_rates import Interval, interval
from eva.seeds import derive
from eva.types import Floats, Ints

STRONG = 3
"""How many battles a verdict of "much better" counts as."""
ANCHOR, SCALE = 1000.0, 400 / math.log(10)
"""Elo units: the baseline has 1000; 400 points are odds of ten to one."""


@dataclass(frozen=True, slots=True)
class ArenaVersion:
    """A version of Arena-Hard: its baseline, and how it counts verdicts."""

    baseline: str
    whole_rows: bool
    level: float


VERSIONS = {"0.1": ArenaVersion("gpt-4-0314", False, 0.95), "2.0": ArenaVersion("o3-mini-2025-01-31", True, 0.9)}
"""2.0 leaves out both games of a question if one has no verdict; its style control is in eva.evaluation.style."""

_RIDGE = 1e-6
"""Keeps the strength of a model finite if it won or lost everything."""
_FIRST = {
    "A>>B": 1.0,
    "A>B": 1.0,
    "A=B": 0.5,
    "A<B": 0.0,
    "A<<B": 0.0,
    "B>>A": 0.0,
    "B>A": 0.0,
    "B=A": 0.5,
    "B<A": 1.0,
    "B<<A": 1.0,
}


@dataclass(frozen=True, slots=True)
class Battle:
    """`one` against `other`: `score` is 1, 1/2 or 0 for `one`."""

    one: str
    other: str
    score: float


@dataclass(frozen=True, slots=True)
class ArenaScore:
    """A model's strength: its predicted win rate against the baseline, also in Elo units."""

    model: str
    win_rate: Interval
    elo: Interval
    battles: int


def battles_from_judgments(
    rows: Iterable[Mapping[str, Any]], baseline: str, *, strong: int = STRONG, whole_rows: bool = False
) -> tuple[list[Battle], int]:
    """Reads battles from Arena-Hard's judgment files (JSON Lines). Also returns how many verdicts are missing.

    A row has `model` and `games`. In the first game the baseline is A and the model B, in the second the other way
    round; a `score` is a text such as "A>>B". A game without a score is left out, and with `whole_rows`, as in
    Arena-Hard 2.0, so is its row. Raises InputError if a row has no games.
    """
    battles: list[Battle] = []
    missing = 0
    for place, row in enumerate(rows):
        if "model" not in row or not isinstance(row.get("games"), list):
            raise InputError(
                f"judgment {place} has the keys {sorted(row)}",
                expected="`model` and a list of `games`",
                next_move="Use Arena-Hard's model_judgment files unchanged",
            )
        model, games = str(row["model"]), cast("list[Mapping[str, Any] | None]", row["games"])
        labels = [None if game is None else game.get("score") for game in games]
        unread = sum(label not in _FIRST for label in labels)
        missing += len(labels) if whole_rows and unread else unread
        if whole_rows and unread:
            continue
        for turn, label in enumerate(labels):
            if label in _FIRST:
                first, second = (baseline, model) if turn % 2 == 0 else (model, baseline)
                times = strong if ">>" in label or "<<" in label else 1
                battles += [Battle(first, second, _FIRST[label])] * times
    return battles, missing


def arena_scores(
    battles: Sequence[Battle], baseline: str, *, seed: int, rounds: int = 100, level: float = 0.95
) -> list[ArenaScore]:
    """Returns every model's score, the best first.

    The value is the fit to all battles; the interval comes from a bootstrap over battles. Raises InputError if the
    baseline is in no battle.
    """
    models = sorted({name for battle in battles for name in (battle.one, battle.other)})
    if baseline not in models:
        raise InputError(
            f"there is no battle with the baseline {baseline!r}",
            expected=f"one of: {', '.join(models)}",
            next_move="Choose one of these models",
        )
    index = {model: place for place, model in enumerate(models)}
    kinds = Counter((index[battle.one], index[battle.other], battle.score) for battle in battles)
    kinds_C, counts_C = list(kinds), np.array(list(kinds.values()))
    draw = np.random.default_rng(derive(seed, "arena"))
    resampled_R_C = draw.multinomial(len(battles), counts_C / len(battles), size=rounds)
    wins_R_M_M = wins(kinds_C, np.concatenate([counts_C[None], resampled_R_C]), len(models))
    strengths_R_M = strengths(wins_R_M_M)
    strengths_R_M -= strengths_R_M[:, index[baseline], None]
    played_M = (wins_R_M_M[0] + wins_R_M_M[0].T).sum(axis=1)
    scores = [
        ArenaScore(
            model,
            _interval(1 / (1 + np.exp(-strengths_R_M[:, place])), level),
            _interval(ANCHOR + SCALE * strengths_R_M[:, place], level),
            round(played_M[place]),
        )
        for model, place in index.items()
    ]
    return sorted(scores, key=lambda score: (-score.win_rate.value, score.model))


def wins(kinds_C: Sequence[tuple[int, int, float]], counts_R_C: Ints, models: int) -> Floats:
    """Returns how often each model beat each other one, [R, M, M]; a draw counts 1/2 for both."""
    wins_R_M_M = np.zeros((len(counts_R_C), models, models))
    for kind, (one, other, score) in enumerate(kinds_C):
        wins_R_M_M[:, one, other] += score * counts_R_C[:, kind]
        wins_R_M_M[:, other, one] += (1 - score) * counts_R_C[:, kind]
    return wins_R_M_M


def strengths(wins_R_M_M: Floats, *, steps: int = 100, tolerance: float = 1e-10) -> Floats:
    """Returns maximum-likelihood log-strengths, [R, M], by Newton's method for all rounds at once; rows have mean 0."""
    played_R_M_M = wins_R_M_M + wins_R_M_M.swapaxes(1, 2)
    size = wins_R_M_M.shape[-1]
    found_R_M: Floats = np.zeros(wins_R_M_M.shape[:2])
    for _ in range(steps):
        p_R_M_M: Floats = 1 / (1 + np.exp(found_R_M[:, None, :] - found_R_M[:, :, None]))
        slope_R_M: Floats = (wins_R_M_M - played_R_M_M * p_R_M_M).sum(axis=2) - _RIDGE * found_R_M
        weights_R_M_M: Floats = played_R_M_M * p_R_M_M * (1 - p_R_M_M)
        curvature: Floats = -weights_R_M_M + np.eye(size) * (weights_R_M_M.sum(axis=2) + _RIDGE)[:, :, None]
        newton_R_M = np.linalg.solve(curvature, slope_R_M[:, :, None])[:, :, 0].astype(np.float64)
        step_R_M: Floats = np.clip(newton_R_M, -1, 1)
        found_R_M = found_R_M + step_R_M
        if np.abs(step_R_M).max() < tolerance:
            break
    return found_R_M - found_R_M.mean(axis=1, keepdims=True)


def _interval(values_R: Floats, level: float) -> Interval:
    """Returns the fit to all battles (first row) and the interval over the bootstrap rounds (the rest)."""
    return interval(float(values_R[0]), values_R[1:], level)
