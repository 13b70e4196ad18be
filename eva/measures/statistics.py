"""Figures of an iteration's rewards and informativeness, ranks, and intervals of proportions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from eva.types import Estimate, Floats, RewardTable

QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


def describe(judged: RewardTable, estimated: Estimate) -> dict[str, object]:
    """Returns the figures of a pool or batch: means over prompts of the mean, best and worst reward, info quantiles.

    They use all responses with a finite reward; a figure without data is None.
    """
    rewards_P_N = judged.rewards_P_N[np.isfinite(judged.rewards_P_N).any(axis=1)]
    info_E = estimated.info_P[np.isfinite(estimated.info_P)]
    best_P, worst_P = np.fmax.reduce(rewards_P_N, axis=1), np.fmin.reduce(rewards_P_N, axis=1)
    return {
        "prompts": len(judged.numbers_P),
        "rewarded_prompts": len(rewards_P_N),
        "responses": int(np.isfinite(judged.rewards_P_N).sum()),
        "cut_responses": int(judged.cut_P_N.sum()),
        "reward_mean": _mean(_row_means(rewards_P_N)),
        "reward_best": _mean(best_P),
        "reward_worst": _mean(worst_P),
        "info_mean": _mean(info_E),
        "info_quantiles": [float(value) for value in np.quantile(info_E, QUANTILES)] if len(info_E) else None,
        "degenerate": estimated.counts(),
    }


def wilson(correct: float, total: float, z: float = 1.96) -> tuple[float, float]:
    """Returns Wilson's 95 % interval of a proportion (Wilson 1927), and (0, 1) if `total` is 0."""
    if total == 0:
        return 0.0, 1.0
    share = correct / total
    centre = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def clustered_wilson(correct: int, total: int, items: int, deviation: float | None) -> tuple[float, float]:
    """Returns a 95 % interval of a proportion whose responses to one item are not independent.

    It is Wilson's at the effective number of responses: between `items` and `total`, as many independent responses as
    would vary so much (Kish 1965). `deviation` is the sample standard deviation of the items' proportions, all of as
    many responses; None for one item. Where all or none are correct nothing says how they vary, and each item counts
    once. With one response per item it is Wilson's own interval.
    """
    if total <= items or items == 0:
        return wilson(correct, total)
    share = correct / total
    error_square = None if deviation is None else deviation**2 / items
    effective = share * (1 - share) / error_square if error_square else float(items)
    effective = min(float(total), max(float(items), effective))
    return wilson(share * effective, effective, student_quantile(max(1, items - 1)))


def paired_interval(mean: float, squares: float, items: int, samples: float) -> tuple[float, float]:
    """Returns a 95 % interval of the mean change of a proportion, from the changes of the same items.

    `squares` is the sum of the changes' squares, `samples` the number of responses per item. Two further items count,
    one that gained a response and one that lost one (Bonett and Price 2012, for one response per item), so that the
    interval of a few equal changes is not a point.
    """
    rows, step = items + 2, 1 / samples
    centre = mean * items / rows
    variance = max(0.0, (squares + 2 * step**2) / rows - centre**2)
    half = student_quantile(max(1, items - 1)) * math.sqrt(variance / rows)
    return max(-1.0, centre - half), min(1.0, centre + half)


def mean_interval(mean: float, deviation: float | None, items: int) -> tuple[float, float] | None:
    """Returns Student's 95 % interval of a mean over items; None for fewer than two."""
    if deviation is None or items < 2:
        return None
    half = student_quantile(items - 1) * deviation / math.sqrt(items)
    return mean - half, mean + half


def student_quantile(freedom: float, level: float = 0.95) -> float:
    """Returns how many standard errors an interval of this level reaches to either side, by Student's t."""
    from scipy import special  # pyright: ignore[reportMissingTypeStubs] - it has none

    functions: Any = special
    return float(functions.stdtrit(freedom, (1 + level) / 2))


def ranks(values: Floats) -> Floats:
    """Returns the share of the values in its row that each value exceeds, [..., N]; itself and ties count 1/2.

    This equals the mean win rate that the values imply, and mid-ranks up to a scale. NaN has no rank and exceeds
    nothing.
    """
    greater = (values[..., :, None] > values[..., None, :]) + 0.5 * (values[..., :, None] == values[..., None, :])
    known = np.isfinite(values)
    return np.where(known, greater.sum(axis=-1) / np.maximum(known.sum(axis=-1, keepdims=True), 1), np.nan)


def _row_means(rewards_P_N: Floats) -> Floats:
    finite_P_N = np.isfinite(rewards_P_N)
    return np.where(finite_P_N, rewards_P_N, 0).sum(axis=1) / finite_P_N.sum(axis=1)


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None
