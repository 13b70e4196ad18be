"""Measures what a rewarder prefers besides quality (length, formatting, position), and whether a second one agrees.

Letters: K responses (or opponents), J pairs of responses, F features, P prompts, N responses per prompt. A figure is
None without data, or if its data are constant.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import numpy as np

from eva.measures.statistics import ranks
from eva.types import Floats, Ints

FEATURES: Mapping[str, re.Pattern[str] | None] = {
    "length": None,
    "lists": re.compile(r"^[ \t]*(?:[-*+•]|\d+[.)])[ \t]+\S", re.MULTILINE),
    "headers": re.compile(r"^[ \t]{0,3}#{1,6}[ \t]+\S", re.MULTILINE),
    "bold": re.compile(r"(\*\*|__)(?=\S).{1,200}?(?<=\S)\1"),
}
"""What is counted in a response: characters, list items, headers, bold spans (Markdown)."""


def features(text: str) -> tuple[int, ...]:
    """Returns the counts of FEATURES in a response, in their order."""
    return tuple(
        len(text) if pattern is None else sum(1 for _ in pattern.finditer(text)) for pattern in FEATURES.values()
    )


def correlations(rewards_K: Floats, features_K_F: Floats, prompts_K: Ints) -> dict[str, dict[str, float | None]]:
    """Returns three Pearson correlations of the reward with each feature, over the responses with a reward.

    `raw`: over all responses. `within`: with each prompt's mean removed from both, so that differences between prompts
    do not count. `partial`: like `within`, and with the effect of other features removed by least squares: formatting
    for length, length for formatting.
    """
    known_K = np.isfinite(rewards_K)
    rewards_K, features_K_F, prompts_K = rewards_K[known_K], features_K_F[known_K], prompts_K[known_K]
    inner_K, inner_K_F = _within(rewards_K[:, None], prompts_K)[:, 0], _within(features_K_F, prompts_K)
    found: dict[str, dict[str, float | None]] = {}
    for place, name in enumerate(FEATURES):
        others = [other for other in range(len(FEATURES)) if (other == 0) != (place == 0)]
        found[name] = {
            "raw": correlation(rewards_K, features_K_F[:, place]),
            "within": correlation(inner_K, inner_K_F[:, place]),
            "partial": partial_correlation(inner_K, inner_K_F[:, place], inner_K_F[:, others]),
        }
    return found


def correlation(one_K: Floats, other_K: Floats) -> float | None:
    """Returns Pearson's correlation; None for fewer than three values or constant values."""
    if len(one_K) < 3:
        return None
    one_K, other_K = one_K - one_K.mean(), other_K - other_K.mean()
    size = float(np.sqrt((one_K @ one_K) * (other_K @ other_K)))
    floor = 1e-12 * len(one_K)
    return None if not math.isfinite(size) or size <= floor else float(np.clip(one_K @ other_K / size, -1, 1))


def partial_correlation(one_K: Floats, other_K: Floats, controls_K_F: Floats) -> float | None:
    """Returns the correlation of both variables' residuals after least squares on the controls; None without any."""
    if len(one_K) < 3 + controls_K_F.shape[1]:
        return None
    design = np.column_stack([np.ones(len(one_K)), _unit(controls_K_F)])
    left: list[Floats] = []
    for values_K in (_unit(one_K[:, None]), _unit(other_K[:, None])):
        fit, *_ = np.linalg.lstsq(design, values_K, rcond=None)
        left.append((values_K - design @ fit)[:, 0])
    if min(float(rest @ rest) for rest in left) < 1e-9 * len(one_K):
        return None
    return correlation(left[0], left[1])


def agreement(first_P_N: Floats, second_P_N: Floats) -> dict[str, float | int | None]:
    """Returns how similarly two rewarders order the same responses, prompt by prompt.

    `kendall` (tau-b) and `spearman` are means over the prompts where both are defined. `pairs` is the share of prompts
    whose best and worst response by the first rewarder have the same order by the second (a tie counts 1/2): one minus
    the flip rate of a robust loss.
    """
    both_P_N = np.isfinite(first_P_N) & np.isfinite(second_P_N)
    first_P_N, second_P_N = np.where(both_P_N, first_P_N, np.nan), np.where(both_P_N, second_P_N, np.nan)
    usable_P = both_P_N.sum(axis=1) > 1
    first_P_N, second_P_N = first_P_N[usable_P], second_P_N[usable_P]
    return {
        "prompts": int(usable_P.sum()),
        "kendall": _mean(kendall(first_P_N, second_P_N)),
        "spearman": _mean(spearman(first_P_N, second_P_N)),
        "pairs": _pair_agreement(first_P_N, second_P_N),
    }


def kendall(first_P_N: Floats, second_P_N: Floats) -> Floats:
    """Returns Kendall's tau-b per prompt, [P]; NaN where one side is constant (Kendall 1945)."""
    with np.errstate(invalid="ignore"):
        one = np.nan_to_num(np.sign(first_P_N[:, :, None] - first_P_N[:, None, :]))
        other = np.nan_to_num(np.sign(second_P_N[:, :, None] - second_P_N[:, None, :]))
        sizes_P = np.sqrt((one**2).sum((1, 2)) * (other**2).sum((1, 2)))
        return (one * other).sum((1, 2)) / np.where(sizes_P > 0, sizes_P, np.nan)


def spearman(first_P_N: Floats, second_P_N: Floats) -> Floats:
    """Returns Spearman's rank correlation per prompt, [P], with mid-ranks for ties; NaN where one side is constant."""
    one, other = ranks(first_P_N) - 0.5, ranks(second_P_N) - 0.5  # ranks of a row have mean 1/2
    one, other = np.nan_to_num(one), np.nan_to_num(other)
    sizes_P = np.sqrt((one**2).sum(1) * (other**2).sum(1))
    return (one * other).sum(1) / np.where(sizes_P > 1e-12, sizes_P, np.nan)


def position_bias(first_K: Floats, second_K: Floats) -> dict[str, float]:
    """Returns a judge's position bias, from P(a response wins) against K others, shown first and shown second.

    NaN marks comparisons that were not made. `disagreement`: share of pairs whose verdict changes with the order.
    `shown_first` and `shown_second`: the means; their difference is 0 for a fair judge and 1 for one that always
    prefers the first. Empty if no pair was compared in both orders.
    """
    known_K = np.isfinite(first_K) & np.isfinite(second_K)
    first_K, second_K = first_K[known_K], second_K[known_K]
    if not len(first_K):
        return {}
    return {
        "disagreement": float((np.sign(first_K - 0.5) != np.sign(second_K - 0.5)).mean()),
        "shown_first": float(first_K.mean()),
        "shown_second": float(second_K.mean()),
    }


def verbosity_bias(rewards_K: Floats, lengths_K: Floats, prompts_K: Ints) -> dict[str, float | int | None]:
    """Returns how often the longer of two responses wins, over all pairs of responses to the same prompt.

    `longer_wins`: share of pairs of different length in which the longer response has the higher reward; a tie counts
    1/2. `correlation`: of winning with the difference in length; each pair counts from both sides, so that both have
    mean 0. Responses without a reward are left out.
    """
    order = np.flatnonzero(np.isfinite(rewards_K))
    order = order[np.argsort(prompts_K[order], kind="stable")]
    rewards_K, lengths_K, prompts_K = rewards_K[order], lengths_K[order], prompts_K[order]
    pairs = unequal = 0
    won = products = squares = spread = 0.0
    for step in range(1, len(order)):
        same = prompts_K[step:] == prompts_K[:-step]
        if not same.any():
            break
        won_J = np.sign(rewards_K[step:] - rewards_K[:-step])[same]
        longer_J = (lengths_K[step:] - lengths_K[:-step])[same]
        pairs, unequal = pairs + len(won_J), unequal + int(np.count_nonzero(longer_J))
        won += float(won_J @ np.sign(longer_J))
        products, squares, spread = (
            products + float(won_J @ longer_J),
            squares + float(won_J @ won_J),
            spread + float(longer_J @ longer_J),
        )
    return {
        "pairs": pairs,
        "longer_wins": (won / unequal + 1) / 2 if unequal else None,
        "correlation": products / math.sqrt(squares * spread) if squares and spread else None,
    }


def _pair_agreement(first_P_N: Floats, second_P_N: Floats) -> float | None:
    best_P = np.where(np.isnan(first_P_N), -np.inf, first_P_N).argmax(axis=1)
    worst_P = np.where(np.isnan(first_P_N), np.inf, first_P_N).argmin(axis=1)
    rows_P = np.arange(len(first_P_N))
    gap_P = first_P_N[rows_P, best_P] > first_P_N[rows_P, worst_P]
    likewise_P = np.sign(second_P_N[rows_P, best_P] - second_P_N[rows_P, worst_P])[gap_P]
    return _mean((likewise_P + 1) / 2)


def _within(values_K_F: Floats, prompts_K: Ints) -> Floats:
    _, group_K, counts_P = np.unique(prompts_K, return_inverse=True, return_counts=True)
    sums_P_F = np.zeros((len(counts_P), values_K_F.shape[1]))
    np.add.at(sums_P_F, group_K, values_K_F)
    return values_K_F - (sums_P_F / counts_P[:, None])[group_K]


def _unit(values_K_F: Floats) -> Floats:
    """Centres columns and scales them to unit variance where they vary, so that least squares is well conditioned."""
    values_K_F = values_K_F - values_K_F.mean(axis=0)
    deviations_F = values_K_F.std(axis=0)
    return values_K_F / np.where(deviations_F > 0, deviations_F, 1)


def _mean(values: Floats) -> float | None:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else None
