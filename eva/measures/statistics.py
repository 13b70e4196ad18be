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


def wilson(correct: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """Returns Wilson's 95 % interval of a proportion (Wilson 1927), and (0, 1) if `total` is 0."""
    if total == 0:
        return 0.0, 1.0
    share = correct / total
    centre = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


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
