"""Computes a model's row of AlpacaEval's leaderboard from its annotations (annotations.json)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from eva.errors import InputError
from eva.evaluation.length_control import GamedAnnotations, length_controlled, too_few
from eva.evaluation.win_rates import win_rate
from eva.types import Floats

PUBLISHED = ("index", "preference", "std_delta_len", "instruction_difficulty")
"""The columns of df_gamed.csv that the fit needs."""


@dataclass(frozen=True, slots=True, eq=False)
class Annotations:
    """One model's annotations in their order: `preference_P` in [0, 1] (NaN: none), lengths in characters."""

    preference_P: Floats
    baseline_length_P: Floats
    length_P: Floats


def read_annotations(rows: Sequence[Mapping[str, Any]]) -> Annotations:
    """Reads the annotations of one model: `output_1` is the baseline's, `output_2` the model's.

    A `preference` of 1 is a win of the baseline, 2 of the model, 1.5 (or 0, in old files) a draw. None and values
    outside of this range count as missing. Raises InputError if a field is missing.
    """
    for place, row in enumerate(rows):
        if lacking := [name for name in ("output_1", "output_2", "preference") if name not in row]:
            raise InputError(
                f"annotation {place} has no {', '.join(lacking)}",
                expected="AlpacaEval's annotations.json: output_1, output_2, preference",
                next_move="Use the file from results/MODEL/ANNOTATOR of the package",
            )
    return Annotations(
        np.array([_preference(row["preference"]) for row in rows]),
        np.array([float(len(row["output_1"])) for row in rows]),
        np.array([float(len(row["output_2"])) for row in rows]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class PublishedFit:
    """AlpacaEval's published data for its fit (df_gamed.csv): difficulties by annotation index, and gamed rows."""

    difficulty: Mapping[int, float]
    gamed: GamedAnnotations


def read_published(rows: Iterable[tuple[str, Any]], source: str) -> PublishedFit:
    """Reads the rows of df_gamed.csv, with their places; a row with an empty preference is not fitted.

    Raises InputError if a column is missing or not a number.
    """
    columns: dict[str, list[float]] = {name: [] for name in PUBLISHED}
    for place, row in rows:
        for name, values in columns.items():
            try:
                values.append(math.nan if name == "preference" and row[name] == "" else float(row[name]))
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(
                    f"{place} of {source} has no number in column {name}",
                    expected=f"the columns {', '.join(PUBLISHED)}",
                    next_move="Use df_gamed.csv from the data set tatsu-lab/alpaca_eval",
                ) from error
    index, *others = columns.values()
    known_K = np.isfinite(others[0])
    preference_K, std_delta_K, difficulty_K = (np.array(values)[known_K] for values in others)
    first: dict[int, float] = {}
    for place, difficulty in zip(index, others[2], strict=True):
        first.setdefault(int(place), difficulty)
    return PublishedFit(first, GamedAnnotations(preference_K, std_delta_K, difficulty_K))


def group_by_model(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Groups annotations by the model that was judged (`generator_2`), keeping their order."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(str(row.get("generator_2", "model")), []).append(row)
    return groups


def leaderboard_row(
    rows: Sequence[Mapping[str, Any]], *, seed: int, published: PublishedFit | None = None
) -> dict[str, Any]:
    """Returns a model's figures in percent, under AlpacaEval's names, and a bootstrap interval.

    With `too_few` preferences the length-controlled figures are None, and `control_reason` says so.
    `length_controlled_winrate` equals AlpacaEval's own only with its published data (`published`). Raises InputError.
    """
    read = read_annotations(rows)
    won = win_rate(read.preference_P, seed=seed)
    if won is None:
        raise InputError(
            "no annotation has a preference",
            expected="numbers from 1 to 2",
            next_move="Check the annotator's raw completions",
        )
    difficulty_P = None
    if published is not None:
        if len(rows) > len(published.difficulty):
            raise InputError(
                f"one model has {len(rows):,} annotations, but there are {len(published.difficulty):,} difficulties",
                expected="annotations of AlpacaEval's own instructions, in their order",
                next_move="Leave the difficulties out for another set of instructions",
            )
        difficulty_P = np.array([published.difficulty[place] for place in range(len(rows))])
    reason = too_few(won.prompts)
    controlled = (
        None
        if reason is not None
        else length_controlled(
            read.preference_P,
            read.baseline_length_P,
            read.length_P,
            difficulty_P=difficulty_P,
            gamed=published and published.gamed,
        )
    )
    return {
        "win_rate": 100 * won.rate.value,
        "standard_error": 100 * won.error,
        "n_wins": won.wins,
        "n_wins_base": won.losses,
        "n_draws": won.ties,
        "n_total": won.prompts,
        "discrete_win_rate": 100 * (won.wins + won.ties / 2) / won.prompts,
        "length_controlled_winrate": None if controlled is None else 100 * controlled.controlled,
        "lc_standard_error": None if controlled is None else 100 * controlled.error,
        "avg_length": float(int(np.mean(read.length_P))),
        "low": 100 * won.rate.low,
        "high": 100 * won.rate.high,
    } | ({} if reason is None else {"control_reason": reason})


def _preference(preference: object) -> float:
    if preference is None or isinstance(preference, str):
        return math.nan
    value = float(cast("float", preference)) or 1.5
    return value - 1 if 1 <= value <= 2 else math.nan
