"""The informativeness metrics, info(x): one function per metric.

A new metric is a function (rewards_P_N, with NaN where a response is unusable -> info_P) and a line in METRICS. Your
own needs no line: the config names it as `module:function`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial

import numpy as np

from eva.runtime.user_functions import load_function
from eva.types import Floats

Metric = Callable[[Floats], Floats]

ROUNDING = 1e-12
"""Relative difference that rounding may cause between two sums of a few rewards."""

SIGNATURE = "a function (rewards_P_N) -> info_P: NaN where a response is unusable; a finite figure per prompt"


def a_min(rewards_P_N: Floats) -> Floats:
    """Worst-case optimal advantage max - min, minimax regret (eva, Definition 2, equation 3)."""
    return np.fmax.reduce(rewards_P_N, axis=1) - np.fmin.reduce(rewards_P_N, axis=1)


def a_avg(rewards_P_N: Floats) -> Floats:
    """max - mean over all responses, Bayesian regret (eva, table of regret metrics)."""
    return np.fmax.reduce(rewards_P_N, axis=1) - mean(rewards_P_N)


def a_dts(rewards_P_N: Floats) -> Floats:
    """max - second highest, dueling regret (eva, table of regret metrics). A tie at the top gives 0."""
    best_P = np.full(len(rewards_P_N), -np.inf)
    second_P = best_P.copy()
    for rewards_P in np.where(np.isnan(rewards_P_N), -np.inf, rewards_P_N).T:
        second_P = np.maximum(second_P, np.minimum(best_P, rewards_P))
        best_P = np.maximum(best_P, rewards_P)
    return best_P - second_P


def variance(rewards_P_N: Floats) -> Floats:
    """Population variance (eva's baseline)."""
    return mean((rewards_P_N - mean(rewards_P_N)[:, None]) ** 2)


def mean(rewards_P_N: Floats) -> Floats:
    """Mean reward (eva's baseline)."""
    present_P_N = np.isfinite(rewards_P_N)
    count_P = present_P_N.sum(axis=1)
    return np.where(present_P_N, rewards_P_N, 0).sum(axis=1) / np.where(count_P, count_P, np.nan)


def inverse_mean(rewards_P_N: Floats) -> Floats:
    """1 - minmax(mean) over the pool (eva's baseline): hard prompts first."""
    return 1 - _over_the_pool(mean(rewards_P_N))


def inverse_a_min(rewards_P_N: Floats) -> Floats:
    """1 - minmax(a_min) over the pool (eva's negative control): prompts without a gap first."""
    return 1 - _over_the_pool(a_min(rewards_P_N))


def uniform(rewards_P_N: Floats) -> Floats:
    """1 for every prompt (eva's baseline)."""
    return np.ones(len(rewards_P_N))


def learnability(rewards_P_N: Floats, threshold: float) -> Floats:
    """p (1 - p) with p the share of responses whose reward is above `threshold`: at most 1/4, at p = 1/2."""
    above_P = (rewards_P_N > threshold).sum(axis=1) / np.maximum(np.isfinite(rewards_P_N).sum(axis=1), 1)
    return above_P * (1 - above_P)


def std_normalised(rewards_P_N: Floats) -> Floats:
    """(max - mean) / population standard deviation: the best response's advantage as GRPO normalises it.

    Neither a shift nor a scale of a prompt's rewards changes it.
    """
    spread_P = a_min(rewards_P_N)[:, None]
    # divide by the spread first: squares of tiny or huge rewards would exceed the range of floats
    scaled_P_N = (rewards_P_N - np.fmin.reduce(rewards_P_N, axis=1)[:, None]) / np.where(spread_P > 0, spread_P, 1)
    mean_P = mean(scaled_P_N)
    deviation_P = np.sqrt(mean((scaled_P_N - mean_P[:, None]) ** 2))
    return np.where(deviation_P > 0, 1 - mean_P, 0) / np.where(deviation_P > 0, deviation_P, 1)


METRICS: dict[str, Metric | Callable[[Floats, float], Floats]] = {
    "a_min": a_min,
    "a_avg": a_avg,
    "a_dts": a_dts,
    "variance": variance,
    "mean": mean,
    "inverse_mean": inverse_mean,
    "inverse_a_min": inverse_a_min,
    "uniform": uniform,
    "learnability": learnability,
    "std_normalised": std_normalised,
}
VALUES_NO_GAP = frozenset({"mean", "inverse_mean", "inverse_a_min", "uniform"})
"""Metrics that do not measure a gap: a prompt without a gap keeps their value, where other metrics give 0."""
OVER_ALL_RESPONSES = frozenset({"a_avg", "variance", "mean", "inverse_mean", "learnability", "std_normalised"})
"""Metrics of what the policy gives: a text that it gives often counts as often. The others take each text once."""


def over_all_responses(name: str, metric: Metric) -> bool:
    """Whether a metric takes every usable response; a user's function says so by its attribute `all_responses`."""
    return name in OVER_ALL_RESPONSES or (name not in METRICS and bool(getattr(metric, "all_responses", False)))


def needs_threshold(name: str) -> bool:
    return name in METRICS and "threshold" in inspect.signature(METRICS[name]).parameters


def metric_named(name: str, threshold: float | None = None) -> Metric:
    """Returns the metric of this name, or the user's `module:function`. Raises ConfigError."""
    if name not in METRICS:
        return load_function(name, what="metric", expected=SIGNATURE, arguments=["rewards_P_N"])
    metric = METRICS[name]
    return partial(metric, threshold=threshold) if needs_threshold(name) else metric  # pyright: ignore[reportReturnType] - bound


def is_constant(values_P: Floats) -> bool:
    """Returns whether all finite values differ only by rounding, as 0.3 - 0.1 and 0.4 - 0.2 do."""
    low, high = np.fmin.reduce(values_P), np.fmax.reduce(values_P)
    return not high - low > ROUNDING * max(abs(low), abs(high))


def _over_the_pool(values_P: Floats) -> Floats:
    """Rescales values to [0, 1] over the prompts that have one; a constant pool gives 0."""
    if not len(values_P):
        return values_P
    if is_constant(values_P):
        return np.where(np.isnan(values_P), np.nan, 0.0)
    low, high = np.fmin.reduce(values_P), np.fmax.reduce(values_P)
    return (values_P - low) / (high - low)
