"""estimate: info(x), how much a policy can still learn from a prompt, from its usable responses.

The metrics themselves are in eva.creator.metrics; this module applies them and handles degenerate cases.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from eva.creator.metrics import METRICS, VALUES_NO_GAP, Metric, a_min, metric_named, over_all_responses
from eva.runtime.user_functions import call_function, invalid_result
from eva.types import REASONS, Bools, Estimate, Floats, Ints, RewardTable

OK, UNANSWERED, TOO_FEW_REWARDS, ONE_TEXT, EQUAL_REWARDS, NOT_FINITE = range(len(REASONS))


def usable_responses(judged: RewardTable, *, keep_cut: bool) -> Bools:
    """Returns which responses count, shape (P, N): finite reward, not cut at the token limit, a new text."""
    usable_P_N = np.isfinite(judged.rewards_P_N)
    if not keep_cut:
        usable_P_N &= ~judged.cut_P_N
    for later in range(1, usable_P_N.shape[1]):
        for earlier in range(later):
            same_P = judged.text_hashes_P_N[:, earlier] == judged.text_hashes_P_N[:, later]
            usable_P_N[:, later] &= ~(same_P & usable_P_N[:, earlier])
    return usable_P_N


def estimate(
    judged: RewardTable, *, metric: str = "a_min", threshold: float | None = None, keep_cut: bool = False
) -> Estimate:
    """Returns info(x) for every judged prompt, with a reason for each degenerate case (ALGORITHM of eva, section info).

    Metrics that compare responses take each text once; those in OVER_ALL_RESPONSES, which describe what the policy
    gives, take every response. Fewer than two finite rewards give NULL, and so does a metric without a finite value.
    Fewer than two distinct texts, or equal rewards, give 0. The metrics in VALUES_NO_GAP keep their own value instead
    (0 would make such a prompt the best of a pool with negative mean rewards). Raises ConfigError or InputError if a
    user's metric does not fulfil its contract.
    """
    judged = _by_columns(judged)
    rewarded_P_N = np.isfinite(judged.rewards_P_N)
    if not keep_cut:
        rewarded_P_N &= ~judged.cut_P_N
    usable_P_N = usable_responses(judged, keep_cut=keep_cut)
    rewards_P_N = np.where(usable_P_N, judged.rewards_P_N, np.nan)
    codes_P = np.full(len(rewards_P_N), OK, dtype=np.int64)
    with np.errstate(over="ignore", invalid="ignore"):
        codes_P[a_min(rewards_P_N) == 0] = EQUAL_REWARDS
        codes_P[usable_P_N.sum(axis=1) < 2] = ONE_TEXT
        codes_P[rewarded_P_N.sum(axis=1) < 2] = TOO_FEW_REWARDS
        if judged.failures:
            codes_P[np.isin(judged.numbers_P, np.fromiter(judged.failures, dtype=np.int64))] = UNANSWERED
        info_P = _valued(rewards_P_N, np.where(rewarded_P_N, judged.rewards_P_N, np.nan), codes_P, metric, threshold)
    codes_P[(codes_P == OK) & ~np.isfinite(info_P)] = NOT_FINITE
    return Estimate(judged.numbers_P, np.where(np.isfinite(info_P), info_P, np.nan), codes_P, metric)


def _valued(distinct_P_N: Floats, every_P_N: Floats, codes_P: Ints, metric: str, threshold: float | None) -> Floats:
    """Returns the metric's values: NaN for prompts with too few rewards, 0 for those without a gap (see `estimate`).

    `distinct_P_N` are the rewards of each prompt's distinct texts, `every_P_N` those of all its responses.
    """
    function = metric_named(metric, threshold)
    rewards_P_N = every_P_N if over_all_responses(metric, function) else distinct_P_N
    known_P = (codes_P != UNANSWERED) & (codes_P != TOO_FEW_REWARDS)
    gap_P = codes_P == OK
    if metric in METRICS:
        # whole columns are faster than selected rows; a user's metric gets the rows with a gap only
        info_P = function(np.where(known_P[:, None], rewards_P_N, np.nan) if metric in VALUES_NO_GAP else rewards_P_N)
    else:
        info_P = np.zeros(len(rewards_P_N))
        info_P[gap_P] = _asked(function, metric, np.ascontiguousarray(rewards_P_N[gap_P]))
    if metric not in VALUES_NO_GAP:
        info_P = np.where(gap_P, info_P, 0.0)
    return np.where(known_P, info_P, np.nan)


def _asked(function: Metric, name: str, rewards_P_N: Floats) -> Floats:
    """Returns the checked values of a user's metric. Raises InputError."""
    count = len(rewards_P_N)
    expected = f"info of shape ({count},) for rewards of shape {rewards_P_N.shape}"
    info_P = call_function(
        name, lambda: np.asarray(function(rewards_P_N), dtype=np.float64), what="metric", expected=expected
    )
    if info_P.shape != (count,):
        raise invalid_result(
            name,
            f"an array of shape {info_P.shape}",
            what="metric",
            expected=f"one figure per prompt, shape ({count},)",
        )
    return info_P


def _by_columns(judged: RewardTable) -> RewardTable:
    """Returns the same table with contiguous columns, because reducing over few responses reads whole columns."""
    return replace(
        judged,
        rewards_P_N=np.asfortranarray(judged.rewards_P_N),
        text_hashes_P_N=np.asfortranarray(judged.text_hashes_P_N),
        cut_P_N=np.asfortranarray(judged.cut_P_N),
    )
