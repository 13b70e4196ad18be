"""Computes win rates against a baseline, prompt by prompt, with paired bootstrap intervals."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from eva.seeds import derive
from eva.types import Floats, Ints

ROUNDS = 1000
LEVEL = 0.95
_AT_ONCE = 4_000_000
"""How many draws are in memory at a time."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and its percentile bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class WinRate:
    """The share of prompts won in [0, 1], with ties at 1/2; `error` is its standard error.

    `prompts` counts those with a preference, `missing` those without.
    """

    rate: Interval
    error: float
    wins: int
    losses: int
    ties: int
    prompts: int
    missing: int


def preferences(rewards_P: Floats, baseline_P: Floats, *, win_rates: bool = False) -> Floats:
    """Returns 1 where the response has the higher reward, 0 where the baseline has, 1/2 for ties, NaN without both.

    With `win_rates`, the rewards are mean win rates among the two responses, each counting 1/2 against itself, as
    comparing rewarders give them. Then P(response wins) = 1/2 + their difference.
    """
    known_P = np.isfinite(rewards_P) & np.isfinite(baseline_P)
    with np.errstate(invalid="ignore"):
        gap_P = rewards_P - baseline_P
        soft_P = 0.5 + gap_P if win_rates else (np.sign(gap_P) + 1) / 2
        return np.where(known_P, np.clip(soft_P, 0, 1), np.nan)


def win_rate(preferences_P: Floats, *, seed: int, rounds: int = ROUNDS, level: float = LEVEL) -> WinRate | None:
    """Returns the mean preference with a bootstrap over prompts; None without any preference.

    Preferences are in [0, 1], [P], hard or soft; above 1/2 is a win.
    """
    known = preferences_P[np.isfinite(preferences_P)]
    if not len(known):
        return None
    means = bootstrap(lambda rows: known[rows].mean(axis=-1), len(known), seed=seed, rounds=rounds)
    return WinRate(
        rate=interval(float(known.mean()), means, level),
        error=float(known.std(ddof=1) / math.sqrt(len(known))) if len(known) > 1 else math.nan,
        wins=int((known > 0.5).sum()),
        losses=int((known < 0.5).sum()),
        ties=int((known == 0.5).sum()),
        prompts=len(known),
        missing=len(preferences_P) - len(known),
    )


def difference(
    one_P: Floats, other_P: Floats, *, seed: int, rounds: int = ROUNDS, level: float = LEVEL
) -> Interval | None:
    """Returns how much more often one policy wins than another against the same baseline, paired by prompt.

    The bootstrap draws the same prompts for both, so that the difficulty of prompts cancels. None without a common
    prompt.
    """
    gain = (one_P - other_P)[np.isfinite(one_P) & np.isfinite(other_P)]
    if not len(gain):
        return None
    means = bootstrap(lambda rows: gain[rows].mean(axis=-1), len(gain), seed=seed, rounds=rounds)
    return interval(float(gain.mean()), means, level)


def self_preference(judge_P: Floats, reference_P: Floats, *, seed: int) -> dict[str, Any] | None:
    """Returns how much more often a judge's own responses win under the judge than under a second rewarder.

    Both arrays are P(the judge's own response is better), [P] in [0, 1], NaN if missing; only prompts with both count.
    `judge` and `second` are the two win rates and `bias` is their difference, each with an interval from a bootstrap
    over prompts. None without such a prompt. Panickssery, Bowman and Feng 2024, "LLM Evaluators Recognize and Favor
    Their Own Generations", arXiv 2404.13076, measure how often a model prefers its own responses; only a second opinion
    can tell this from better responses.
    """
    both_P = np.isfinite(judge_P) & np.isfinite(reference_P)
    judge, reference = (win_rate(one_P[both_P], seed=seed) for one_P in (judge_P, reference_P))
    bias = difference(judge_P, reference_P, seed=seed)
    if judge is None or reference is None or bias is None:
        return None
    return {
        "prompts": int(both_P.sum()),
        "judge": asdict(judge.rate),
        "second": asdict(reference.rate),
        "bias": asdict(bias),
    }


def bootstrap(statistic: Callable[[Ints], Floats], count: int, *, seed: int, rounds: int) -> Floats:
    """Returns a statistic of `rounds` resamples; it maps rows of drawn indexes, [rounds, count], to a value each."""
    draw = np.random.default_rng(derive(seed, "bootstrap"))
    step = max(1, _AT_ONCE // count)
    return np.concatenate(
        [statistic(draw.integers(count, size=(min(step, rounds - first), count))) for first in range(0, rounds, step)]
    )


def interval(value: float, resampled: Floats, level: float = LEVEL) -> Interval:
    """Returns a figure with the percentile interval of its resamples."""
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))
