"""How sure a study's figures are: means and paired differences over seeds, given models and held-out prompts.

The letters in names: R runs, S seeds, P held-out prompts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from eva.evaluation.win_rates import bootstrap
from eva.measures.statistics import student_quantile
from eva.seeds import derive
from eva.studies.distributions import flipped_sums
from eva.types import Bools, Floats, Ints

LEVEL = 0.95
ROUNDS = 10_000
MOST_EXACT = 16
"""With more seeds than this, sign flips are drawn at random instead of enumerated: 2^16 are 65,536."""
FLIPS = 99_999
"""How many sign flips are drawn at random."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """One figure of several runs: their seeds, their given models, and a value for each held-out prompt, [R, P].

    A value is the mean over the responses to the prompt, NaN without any; all runs have the same prompts in the same
    order. A figure that is not made of prompts has one column.
    """

    seeds_R: Ints
    models_R: tuple[str, ...]
    values_R_P: Floats

    def __post_init__(self) -> None:
        if not len(self.seeds_R) == len(self.models_R) == len(self.values_R_P):
            raise ValueError("seeds, models and values must be as many as there are runs")
        if len({*zip(self.seeds_R.tolist(), self.models_R, strict=True)}) < len(self.seeds_R):
            raise ValueError("there are two runs with the same seed and given model")


@dataclass(frozen=True, slots=True)
class Spread:
    """A mean over seeds, given models and held-out prompts, with its interval.

    `error` is the standard error; `error_of_prompts` the part of it (added in squares) that only more held-out prompts
    would reduce. `degrees` are the degrees of freedom of the interval. These and the interval are None with one seed.
    `deviation` is the standard deviation over runs; `left_out` counts prompts that some run has no value for.
    """

    value: float
    low: float | None
    high: float | None
    error: float | None
    error_of_prompts: float | None
    degrees: float | None
    deviation: float | None
    runs: int
    seeds: int
    prompts: int
    left_out: int


@dataclass(frozen=True, slots=True)
class SignFlips:
    """The two-sided p of a sign-flip test; `exact` if all `flips` of the seeds' signs were counted."""

    p: float
    exact: bool
    flips: int


def paired(one: Outcomes, other: Outcomes) -> Outcomes:
    """Returns the first minus the second for each seed and given model that both have, prompt by prompt."""
    places = {key: row for row, key in enumerate(zip(other.seeds_R.tolist(), other.models_R, strict=True))}
    keys = [*zip(one.seeds_R.tolist(), one.models_R, strict=True)]
    rows = [row for row, key in enumerate(keys) if key in places]
    matching = [places[keys[row]] for row in rows]
    return Outcomes(
        one.seeds_R[rows],
        tuple(one.models_R[row] for row in rows),
        one.values_R_P[rows] - other.values_R_P[matching],
    )


def spread(outcomes: Outcomes, *, seed: int, rounds: int = ROUNDS, level: float = LEVEL) -> Spread | None:
    """Returns the mean of runs with an interval that covers other seeds and other prompts; None without a value.

    Each given model weighs the same. Seeds and prompts are two crossed random effects, because every run answers the
    same prompts; given models are fixed, and the runs of a seed on several models count as one cluster. The interval
    comes from a hierarchical bootstrap: it draws seeds, then held-out prompts, from effects that are scaled to their
    estimated variances (Carpenter, Goldstein and Rasbash 2003), and takes percentiles, stretched by the ratio of
    Student's quantile to the normal one with Satterthwaite's degrees of freedom, because a percentile interval of
    ten seeds covers only about 90 % (docs/decisions/0021).
    """
    known_P = _known(outcomes)
    values_R_P = outcomes.values_R_P[:, known_P]
    runs, prompts = values_R_P.shape
    if runs == 0 or prompts == 0:
        return None
    values_S_P = seed_values(outcomes.seeds_R, outcomes.models_R, values_R_P)
    seeds = len(values_S_P)
    value = float(values_S_P.mean())
    left_out = len(known_P) - prompts
    deviation = float(values_R_P.mean(axis=1).std(ddof=1)) if runs > 1 else None
    if seeds == 1:
        return Spread(value, None, None, None, None, None, deviation, runs, seeds, prompts, left_out)
    parts = _Parts.of(values_S_P)
    error = math.sqrt(parts.of_seeds + parts.of_prompts)
    low, high = _interval(parts, seed, rounds, level)
    return Spread(
        value,
        value + low,
        value + high,
        error,
        math.sqrt(parts.of_prompts),
        parts.degrees,
        deviation,
        runs,
        seeds,
        prompts,
        left_out,
    )


def seed_values(seeds_R: Ints, models_R: Sequence[str], values_R_P: Floats) -> Floats:
    """Returns a row per seed, [S, P], whose mean over seeds gives each given model the same weight.

    Where every seed has a run on every model, a row is the mean over the seed's runs. A seed that lacks a run counts
    with the others of its runs, relative to the means of their models.
    """
    models = np.array(models_R)
    seeds = np.unique(seeds_R)
    names = np.unique(models)
    means_M_P = np.stack([values_R_P[models == name].mean(axis=0) for name in names])
    rows_S_P = np.broadcast_to(means_M_P.mean(axis=0), (len(seeds), values_R_P.shape[1])).copy()
    for name, mean_P in zip(names, means_M_P, strict=True):
        of_model = models == name
        places = np.searchsorted(seeds, seeds_R[of_model])
        weight = len(seeds) / (len(names) * of_model.sum())
        rows_S_P[places] += weight * (values_R_P[of_model] - mean_P)
    return rows_S_P


def sign_flips(differences: Outcomes, *, seed: int) -> SignFlips | None:
    """Returns the p of the hypothesis that, on these prompts, the difference is as often positive as negative.

    All runs of a seed flip together. With up to `MOST_EXACT` seeds every flip is counted, so n seeds cannot give a p
    below 2 / 2^n; with more, flips are drawn. None without a difference.
    """
    known_P = _known(differences)
    if len(differences.seeds_R) == 0 or not known_P.any():
        return None
    means_R = differences.values_R_P[:, known_P].mean(axis=1)
    models = np.array(differences.models_R)
    names, counts = np.unique(models, return_counts=True)
    weights_R = 1 / (len(names) * counts[np.searchsorted(names, models)])
    _, places = np.unique(differences.seeds_R, return_inverse=True)
    shares_S = np.bincount(places, weights_R * means_R).astype(np.float64)
    exact = len(shares_S) <= MOST_EXACT
    # both flips of a single seed are as far from zero, which the library does not count
    if len(shares_S) == 1 or not shares_S.any():
        return SignFlips(1.0, exact, 2 ** len(shares_S) if exact else FLIPS)
    p, flips = flipped_sums(shares_S, None if exact else FLIPS, derive(seed, "sign flips"))
    return SignFlips(p, exact, flips)


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p-values that allow for there being several of them (Holm 1979)."""
    order = np.argsort(p_values, kind="stable")
    scaled = np.asarray(p_values, dtype=float)[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted.tolist()


def _known(outcomes: Outcomes) -> Bools:
    """Which prompts every run has a value for, [P]."""
    return np.asarray(np.isfinite(outcomes.values_R_P).all(axis=0), dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class _Parts:
    """The variance of a mean over seeds and prompts, in its parts, with the effects that the bootstrap draws from.

    `of_seeds` has the noise of single responses in it; `of_prompts` has not, because that would count it twice.
    """

    effects_S: Floats
    effects_P: Floats
    of_seeds: float
    of_prompts: float
    degrees: float

    @staticmethod
    def of(values_S_P: Floats) -> _Parts:
        """Splits the variance by the two-way analysis of variance; at least two seeds are needed."""
        seeds, prompts = values_S_P.shape
        centred_S_P = values_S_P - values_S_P.mean()
        seeds_S, prompts_P = centred_S_P.mean(axis=1), centred_S_P.mean(axis=0)
        cells = seeds * prompts
        square_of_seeds = prompts * float(seeds_S @ seeds_S) / (seeds - 1)
        of_seeds, of_prompts, doubt = square_of_seeds / cells, 0.0, 0.0
        effects_P = np.zeros_like(prompts_P)
        if prompts > 1:
            rest_S_P = centred_S_P - seeds_S[:, None] - prompts_P
            free = (seeds - 1) * (prompts - 1)
            square_of_prompts = seeds * float(prompts_P @ prompts_P) / (prompts - 1)
            square_of_rest = float((rest_S_P * rest_S_P).sum()) / free
            if square_of_prompts > square_of_rest:
                of_prompts = (square_of_prompts - square_of_rest) / cells
                effects_P = prompts_P * math.sqrt(cells * of_prompts * prompts / (square_of_prompts * (prompts - 1)))
                doubt = (square_of_prompts**2 / (prompts - 1) + square_of_rest**2 / free) / cells**2
        doubt += of_seeds**2 / (seeds - 1)
        total = of_seeds + of_prompts
        degrees = total**2 / doubt if doubt > 0 else float(seeds - 1)
        return _Parts(seeds_S * math.sqrt(seeds / (seeds - 1)), effects_P, of_seeds, of_prompts, degrees)


def _interval(parts: _Parts, seed: int, rounds: int, level: float) -> tuple[float, float]:
    """The ends of the interval, relative to the mean."""
    drawn = np.zeros(rounds)
    for name, effects in (("seeds", parts.effects_S), ("prompts", parts.effects_P)):
        if effects.any():
            drawn += bootstrap(
                lambda rows, effects=effects: effects[rows].mean(axis=-1),
                len(effects),
                seed=derive(seed, "study", name),
                rounds=rounds,
            )
    stretch = student_quantile(parts.degrees, level) / NormalDist().inv_cdf((1 + level) / 2)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return stretch * float(low), stretch * float(high)
