"""AlpacaEval's annotations (annotations.json) to the row of its leaderboard."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from eva.errors import InputError
from eva.evaluation.length_control import Gamed, length_controlled
from eva.evaluation.winning import win_rate
from eva.types import Floats


@dataclass(frozen=True, slots=True, eq=False)
class Annotations:
    """One model's annotations in their order: `preference_P` in [0, 1] (NaN: none), lengths in characters."""

    preference_P: Floats
    baseline_length_P: Floats
    length_P: Floats


def read_annotations(rows: Sequence[Mapping[str, Any]]) -> Annotations:
    """Annotations of one model: `output_1` is the baseline's, `output_2` the model's, `preference` from 1 to 2.

    A preference of 1 is a win of the baseline, 2 of the model, 1.5 (or 0, in old files) a draw. None and whatever lies
    outside counts as none. Raises InputError when a field is missing.
    """
    for place, row in enumerate(rows):
        if lacking := [name for name in ("output_1", "output_2", "preference") if name not in row]:
            raise InputError(f"annotation {place} has no {', '.join(lacking)}",
                             expected="AlpacaEval's annotations.json: output_1, output_2, preference",
                             next_move="Take the file from results/MODEL/ANNOTATOR of the package")
    return Annotations(
        np.array([_preference(row["preference"]) for row in rows]),
        np.array([float(len(row["output_1"])) for row in rows]),
        np.array([float(len(row["output_2"])) for row in rows]))


def leaderboard_row(rows: Sequence[Mapping[str, Any]], *, seed: int, difficulty: Sequence[float] | None = None,
                    gamed: Gamed | None = None) -> dict[str, float]:
    """The published figures of one model, in percent, by their published names, and our bootstrap interval.

    `length_controlled_winrate` equals the published one only with AlpacaEval's own `difficulty` (per instruction, in
    the order of the annotations) and `gamed` rows. Raises InputError.
    """
    read = read_annotations(rows)
    won = win_rate(read.preference_P, seed=seed)
    if won is None:
        raise InputError("no annotation has a preference", expected="numbers from 1 to 2",
                         next_move="Look at the annotator's raw completions")
    controlled = length_controlled(
        read.preference_P, read.baseline_length_P, read.length_P, gamed=gamed,
        difficulty_P=None if difficulty is None else np.array(difficulty, dtype=np.float64))
    return {
        "win_rate": 100 * won.rate.value, "standard_error": 100 * won.error, "n_wins": won.wins,
        "n_wins_base": won.losses, "n_draws": won.ties, "n_total": won.prompts,
        "discrete_win_rate": 100 * (won.wins + won.ties / 2) / won.prompts,
        "length_controlled_winrate": 100 * controlled.controlled, "lc_standard_error": 100 * controlled.error,
        "avg_length": float(int(np.mean(read.length_P))),
        "low": 100 * won.rate.low, "high": 100 * won.rate.high}


def _preference(given: object) -> float:
    if given is None or isinstance(given, str):
        return math.nan
    value = float(cast("float", given)) or 1.5
    return value - 1 if 1 <= value <= 2 else math.nan
