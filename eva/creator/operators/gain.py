"""Measures how much more informative children are than their parents, without the bias of the parents' selection.

A prompt is sampled because its info was measured to be high, partly by luck. Its child is measured with new responses,
without that luck, so a plain difference makes every operator look bad. A sampled parent is therefore represented by the
info that new responses to it would be expected to show: its measured info, shrunken towards the mean of its pool,

    expected = mean + slope * (measured - mean),   slope = cov(true info, measured info) / var(measured info)

The covariance of info in two disjoint halves of a prompt's responses is the variance of the true info at half the
number of responses; the ratio of the means converts it to the full number. That is exact for any metric whose
expectation grows with N by one factor for all prompts: rewards of a location-scale family, variance, learnability.

Letters: C children, E eligible prompts of a pool, S splits of the responses into halves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from eva.creator.metrics import VALUES_NO_GAP
from eva.errors import ConfigError, InputError
from eva.measures.statistics import student_quantile
from eva.types import Bools, Floats, RewardTable

MOST_SPLITS, GROUPS = 10, 20
"""How many splits into halves are averaged, and how many groups of prompts the jackknife leaves out in turn."""

Measure = Callable[[RewardTable], Floats]
"""Rewards of a set of prompts -> info_P, NaN for NULL: the run's own metric."""


@dataclass(frozen=True, slots=True)
class Shrinkage:
    """How to expect a prompt's info in new responses from the info that was measured: see `expected`.

    `mean` is the pool's mean info, `new_mean` the same with as many responses as the children are measured with.
    """

    slope: float
    error: float
    mean: float
    new_mean: float
    prompts: int

    def expected(self, info: float) -> float:
        return self.new_mean + self.slope * (info - self.mean)


@dataclass(frozen=True, slots=True)
class ChildInfo:
    """A child's info and its parent's; None where unknown. `family` is the seed prompt that both descend from.

    `parent_sampled`: the parent's info is the one by which it was sampled. Otherwise it was measured like the child's.
    """

    operator: str
    family: int
    info: float | None
    parent_info: float | None
    parent_sampled: bool


def measured_with(judged: RewardTable, columns: Sequence[int]) -> RewardTable:
    """Returns the same prompts with only these of their responses."""
    chosen = list(columns)
    tokens_P_N = judged.tokens_P_N
    return replace(
        judged,
        rewards_P_N=judged.rewards_P_N[:, chosen],
        text_hashes_P_N=judged.text_hashes_P_N[:, chosen],
        cut_P_N=judged.cut_P_N[:, chosen],
        tokens_P_N=None if tokens_P_N is None else tokens_P_N[:, chosen],
    )


def pool_shrinkage(judged: RewardTable, measure: Measure, metric: str, *, skipped: int = 0) -> Shrinkage | None:
    """Returns the shrinkage of a pool; None with fewer than 4 responses per prompt or 3 prompts that have an info.

    `skipped` is how many of a child's first responses do not count, because a gate has chosen the child by them.
    """
    n = judged.rewards_P_N.shape[1]
    if n < 4 or n - skipped < 2:
        return None
    half = n // 2
    # the first response always lies in the first half, so that no split of an even number occurs twice
    firsts = [(0, *rest) for rest in _combinations(range(1, n), half - 1)]
    firsts = firsts[:: math.ceil(len(firsts) / MOST_SPLITS)]
    try:
        info_P, new_P = measure(judged), measure(measured_with(judged, range(skipped, n)))
        halves_S_2_P = np.array(
            [
                [measure(measured_with(judged, part)), measure(measured_with(judged, sorted({*range(n)} - {*part})))]
                for part in firsts
            ]
        )
    except (ConfigError, InputError):
        return None  # a user's metric that wants all n responses
    eligible_P = np.isfinite(info_P) & np.isfinite(new_P) & np.isfinite(halves_S_2_P).all(axis=(0, 1))
    if eligible_P.sum() < 3:
        return None
    info_E, new_E, halves_S_2_E = info_P[eligible_P], new_P[eligible_P], halves_S_2_P[:, :, eligible_P]
    grows = metric not in VALUES_NO_GAP
    slope = _slope(info_E, new_E, halves_S_2_E, grows=grows)
    return Shrinkage(
        slope,
        _slope_error(info_E, new_E, halves_S_2_E, grows=grows),
        float(info_E.mean()),
        float(new_E.mean()),
        int(eligible_P.sum()),
    )


def operator_gains(children: Sequence[ChildInfo], shrinkage: Shrinkage | None) -> list[dict[str, Any]]:
    """Returns, by operator, the mean gain in info of its children over their parents, with its 95 % interval.

    `info` is the children's mean info, with its standard error. `change` compares with what new responses to the
    parents are expected to show, `measured` with the parents' measured info. Children are clustered by family: siblings
    share their parent. `known` counts the children of which both infos are known; sampled parents without a `shrinkage`
    are unknown.
    """
    by_operator: dict[str, list[ChildInfo]] = {}
    for child in children:
        by_operator.setdefault(child.operator, []).append(child)
    return [{"operator": name, **_gain(by_operator[name], shrinkage)} for name in sorted(by_operator)]


def _gain(children: Sequence[ChildInfo], shrinkage: Shrinkage | None) -> dict[str, Any]:
    measured = [
        child.info - child.parent_info for child in children if child.info is not None and child.parent_info is not None
    ]
    changes: list[float] = []
    families: list[int] = []
    levers: list[float] = []
    for child in children:
        if child.info is None or child.parent_info is None or (child.parent_sampled and shrinkage is None):
            continue
        sampled = shrinkage if child.parent_sampled else None
        changes.append(child.info - (child.parent_info if sampled is None else sampled.expected(child.parent_info)))
        levers.append(0.0 if sampled is None else child.parent_info - sampled.mean)
        families.append(child.family)
    infos = [(child.info, child.family) for child in children if child.info is not None]
    facts: dict[str, Any] = {
        "children": len(children),
        "info": float(np.mean([info for info, _ in infos])) if infos else None,
        "info_error": _mean_error(infos),
        "known": len(changes),
        "change": float(np.mean(changes)) if changes else None,
        "error": None,
        "low": None,
        "high": None,
        "measured": float(np.mean(measured)) if measured else None,
        "parents": "shrunken",
    }
    clusters = len(set(families))
    if clusters < 2:
        return facts
    error = math.hypot(
        clustered_error(np.array(changes), np.array(families)),
        float(np.mean(levers)) * (0.0 if shrinkage is None else shrinkage.error),
    )
    half = student_quantile(clusters - 1) * error
    return facts | {"error": error, "low": facts["change"] - half, "high": facts["change"] + half}


def _mean_error(infos: Sequence[tuple[float, int]]) -> float | None:
    """The standard error of the children's mean info, with families as clusters; None with fewer than two families."""
    if len({family for _, family in infos}) < 2:
        return None
    return clustered_error(np.array([info for info, _ in infos]), np.array([family for _, family in infos]))


def clustered_error(values_C: Floats, clusters_C: Any) -> float:
    """Returns the standard error of a mean whose values are independent only between clusters, of at least two."""
    _, place_C = np.unique(clusters_C, return_inverse=True)
    sums_G = np.bincount(place_C, values_C - values_C.mean())
    groups = len(sums_G)
    return float(math.sqrt(groups / (groups - 1) * (sums_G**2).sum()) / len(values_C))


def _combinations(values: Sequence[int], size: int) -> list[tuple[int, ...]]:
    return [*combinations(values, size)] if size else [()]


def _slope(info_E: Floats, new_E: Floats, halves_S_2_E: Floats, *, grows: bool) -> float:
    """Returns cov(true info with as many responses as `new_E`, info_E) / var(info_E), between 0 and 1."""
    variance = float(info_E.var())
    if variance <= 0:
        return 0.0
    first_S, second_S = halves_S_2_E.mean(axis=2).T
    shared_S = (halves_S_2_E[:, 0] * halves_S_2_E[:, 1]).mean(axis=1) - first_S * second_S
    # more responses have a larger range: from two halves to the full number and to that of the children
    halves = float(first_S.mean() * second_S.mean())
    growth = float(info_E.mean() * new_E.mean()) / halves if grows and halves > 0 else 1.0
    return min(1.0, max(0.0, growth * float(shared_S.mean()) / variance))


def _slope_error(info_E: Floats, new_E: Floats, halves_S_2_E: Floats, *, grows: bool) -> float:
    """Returns the slope's standard error, by a jackknife over groups of prompts."""
    groups = min(GROUPS, len(info_E))
    group_E = np.arange(len(info_E)) % groups
    kept_G_E: list[Bools] = [group_E != group for group in range(groups)]
    slopes_G = np.array([_slope(info_E[kept], new_E[kept], halves_S_2_E[:, :, kept], grows=grows) for kept in kept_G_E])
    return float(math.sqrt((groups - 1) / groups * ((slopes_G - slopes_G.mean()) ** 2).sum()))
