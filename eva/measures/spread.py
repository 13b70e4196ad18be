"""Histograms and dots of a pool for the dashboard, small enough to be stored with every iteration."""

from __future__ import annotations

import math

import numpy as np

from eva.types import Bools, Estimate, Floats, RewardTable

BINS, MOST_DOTS = 40, 300


def spread(judged: RewardTable, estimated: Estimate, sampled_P: Bools) -> dict[str, object]:
    """Returns histograms of info and mean reward, of sampled prompts and the rest, and dots for some prompts.

    The dots are evenly spaced in the pool: number, info, mean reward, mean tokens, sampled (1) or not (0).
    """
    rewards_P = _means(judged.rewards_P_N)
    lengths_P_N = np.zeros(judged.rewards_P_N.shape) if judged.tokens_P_N is None else judged.tokens_P_N.astype(float)
    lengths_P = _means(np.where(lengths_P_N > 0, lengths_P_N, np.nan))
    rows = np.unique(np.linspace(0, len(sampled_P) - 1, min(MOST_DOTS, len(sampled_P))).round().astype(int))
    columns = [values_P[rows].tolist() for values_P in (estimated.info_P, rewards_P, lengths_P)]
    return {
        "info": _histogram(estimated.info_P, sampled_P),
        "reward": _histogram(rewards_P, sampled_P),
        "dots": [
            [number, *map(_shown, values), int(sampled)]
            for number, *values, sampled in zip(
                estimated.numbers_P[rows].tolist(), *columns, sampled_P[rows].tolist(), strict=True
            )
        ],
    }


def _histogram(values_P: Floats, sampled_P: Bools) -> dict[str, object] | None:
    finite_P = np.isfinite(values_P)
    if not finite_P.any():
        return None
    low, high = float(values_P[finite_P].min()), float(values_P[finite_P].max())
    within = (low, high if high > low else low + 1)
    return {
        "low": within[0],
        "high": within[1],
        "sampled": np.histogram(values_P[finite_P & sampled_P], BINS, within)[0].tolist(),
        "rest": np.histogram(values_P[finite_P & ~sampled_P], BINS, within)[0].tolist(),
    }


def _means(values_P_N: Floats) -> Floats:
    """Returns the row means of finite values; NaN for a row without any."""
    finite_P_N = np.isfinite(values_P_N)
    counts_P = finite_P_N.sum(axis=1)
    sums_P = np.where(finite_P_N, values_P_N, 0.0).sum(axis=1)
    return np.divide(sums_P, counts_P, out=np.full(len(values_P_N), np.nan), where=counts_P > 0)


def _shown(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
