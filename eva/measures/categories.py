"""Reward and reward gap by category of prompt, for one iteration (the paper's Figure 6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from eva.measures.statistics import mean_interval
from eva.types import Floats, RewardTable


def category_figures(categories_P: Sequence[str | None], gaps_P: Floats, judged: RewardTable) -> list[dict[str, Any]]:
    """Returns the figures of each category that occurs, by name.

    `gaps_P`: the gap between each prompt's best and worst response, NaN where there is none. A prompt counts once, with
    the mean reward of its responses, so intervals are over prompts and not over responses.
    """
    finite_P_N = np.isfinite(judged.rewards_P_N)
    counts_P = finite_P_N.sum(axis=1)
    sums_P = np.where(finite_P_N, judged.rewards_P_N, 0.0).sum(axis=1)
    rewards_P = np.where(counts_P > 0, sums_P / np.maximum(counts_P, 1), np.nan)
    known = sorted({category for category in categories_P if category is not None})
    figures: list[dict[str, Any]] = []
    for category in known:
        inside_P = np.array([each == category for each in categories_P])
        reward, gap = (_mean(values_P[inside_P]) for values_P in (rewards_P, gaps_P))
        figures.append(
            {
                "category": category,
                "prompts": int(inside_P.sum()),
                "share": float(inside_P.mean()),
                "reward": reward[0],
                "reward_interval": reward[1],
                "rewarded": reward[2],
                "gap": gap[0],
                "gap_interval": gap[1],
                "informative": gap[2],
            }
        )
    return figures


def _mean(values_P: Floats) -> tuple[float | None, list[float] | None, int]:
    """The mean of the finite values, its 95 % interval, and how many there are."""
    finite = values_P[np.isfinite(values_P)]
    if not len(finite):
        return None, None, 0
    mean = float(finite.mean())
    interval = mean_interval(mean, float(finite.std(ddof=1)) if len(finite) > 1 else None, len(finite))
    return mean, interval and [*interval], len(finite)
