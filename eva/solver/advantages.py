"""weigh: the advantage of every response, in place of pairs, for losses that train on all of them.

A new rule is a function (rewards -> advantages, both of shape (P, N)) and a line in RULES. Your own needs no line: the
config names it as `module:function`. A response without a usable reward is NaN, in the rewards and in the advantages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from eva.errors import InputError
from eva.runtime.user_functions import call_function, invalid_result, load_function
from eva.types import Bools, Floats, ResponseAdvantage, RewardTable

EPSILON = 1e-4
"""What `grpo` adds to the standard deviation, as TRL does, so that rewards that differ by noise alone weigh little."""

Rule = Callable[[Floats], Floats]

SIGNATURE = (
    "a function (rewards) -> advantages, two arrays of shape (prompts, responses): NaN in the rewards is a response "
    "that cannot be used, and NaN in the advantages one that is not trained on"
)


def rloo(rewards_P_N: Floats) -> Floats:
    """Reward less the mean reward of the prompt's other responses (Ahmadian et al. 2024, eq. 8)."""
    count_P = np.isfinite(rewards_P_N).sum(axis=1, keepdims=True)
    others_P_N = np.nansum(rewards_P_N, axis=1, keepdims=True) - rewards_P_N
    return rewards_P_N - others_P_N / (count_P - 1)


def grpo(rewards_P_N: Floats) -> Floats:
    """Reward less the prompt's mean, in standard deviations (Shao et al. 2024, section 4.1.2).

    The paper does not say which standard deviation; this is the sample's (N - 1) plus EPSILON, as in TRL.
    """
    return dr_grpo(rewards_P_N) / (np.nanstd(rewards_P_N, axis=1, ddof=1, keepdims=True) + EPSILON)


def dr_grpo(rewards_P_N: Floats) -> Floats:
    """Reward less the prompt's mean (Liu et al. 2025, section 3.2)."""
    return rewards_P_N - np.nanmean(rewards_P_N, axis=1, keepdims=True)


RULES: dict[str, Rule] = {"rloo": rloo, "grpo": grpo, "dr_grpo": dr_grpo}


def rule_named(name: str) -> Rule:
    """Returns the rule of this name, or the user's `module:function` with checked results. Raises ConfigError."""
    if name in RULES:
        return RULES[name]
    wording = {"what": "advantage", "expected": SIGNATURE}
    function = load_function(name, arguments=["rewards"], **wording)

    def checked(rewards_P_N: Floats) -> Floats:
        advantages_P_N = call_function(
            name, lambda: np.asarray(function(rewards_P_N.copy()), dtype=np.float64), **wording
        )
        if advantages_P_N.shape != rewards_P_N.shape:
            raise invalid_result(name, f"an array of shape {advantages_P_N.shape} for {rewards_P_N.shape}", **wording)
        if np.isinf(advantages_P_N).any() or (np.isnan(rewards_P_N) & ~np.isnan(advantages_P_N)).any():
            raise invalid_result(name, "an infinite advantage, or one for a response without a reward", **wording)
        return advantages_P_N

    return checked


CUT, NO_REWARD, ALONE, EQUAL_REWARDS, LEFT_OUT = "cut", "no_reward", "alone", "equal_rewards", "left_out"
REASONS = {
    CUT: "cut at the token limit",
    NO_REWARD: "no reward",
    ALONE: "the prompt has no other usable response",
    EQUAL_REWARDS: "all usable responses to the prompt have the same reward",
    LEFT_OUT: "the rule for advantages left it out",
}
"""Why a response is not trained on."""


@dataclass(frozen=True, slots=True)
class Weighing:
    """Every response to a batch's prompts with its advantage, in the batch's order.

    `skipped` counts prompts of which nothing is trained on, `left_out` the responses that are not, both by reason.
    """

    responses: tuple[ResponseAdvantage, ...]
    prompts: int
    skipped: dict[str, int]
    left_out: dict[str, int]

    @property
    def trained(self) -> int:
        """The number of responses that are trained on."""
        return len(self.responses) - sum(self.left_out.values())


def weigh(judged: RewardTable, *, rule: str, keep_cut: bool = False) -> Weighing:
    """Returns the advantages of all responses to a batch's prompts.

    A response counts if it has a finite reward and was not cut (unless `keep_cut`), also if another has the same text:
    each was sampled, so each is trained on. Prompts of fewer than two such responses, or of equal rewards, teach
    nothing. Raises ConfigError or InputError if a user's rule does not fulfil its contract.
    """
    if judged.checkpoints_P is not None:
        raise InputError(
            "the rewards come from several policies",
            expected="the responses of the policy that is trained",
            next_move="Use a loss of preference pairs",
        )
    given_P_N = judged.text_hashes_P_N != 0
    rewarded_P_N = np.isfinite(judged.rewards_P_N)
    usable_P_N = rewarded_P_N & (keep_cut | ~judged.cut_P_N)
    rewards_P_N = np.where(usable_P_N, judged.rewards_P_N, np.nan)
    enough_P = usable_P_N.sum(axis=1) >= 2
    gap_P = enough_P.copy()
    gap_P[enough_P] = np.nanmax(rewards_P_N[enough_P], axis=1) > np.nanmin(rewards_P_N[enough_P], axis=1)
    advantages_P_N = np.full(rewards_P_N.shape, np.nan)
    if gap_P.any():
        advantages_P_N[gap_P] = rule_named(rule)(rewards_P_N[gap_P])
    trained_P_N = np.isfinite(advantages_P_N)
    trained_P: Bools = np.asarray(trained_P_N.any(axis=1), dtype=np.bool_)
    reasons_P_N = np.where(trained_P_N, "", LEFT_OUT).astype(object)
    reasons_P_N[~gap_P] = EQUAL_REWARDS
    reasons_P_N[~enough_P] = ALONE
    reasons_P_N[judged.cut_P_N & ~usable_P_N] = CUT
    reasons_P_N[~rewarded_P_N] = NO_REWARD
    responses = tuple(
        _response(judged, row, sample, float(advantages_P_N[row, sample]), str(reasons_P_N[row, sample]))
        for row, sample in zip(*(axis.tolist() for axis in np.nonzero(given_P_N)), strict=True)
    )
    return Weighing(
        responses,
        int(trained_P.sum()),
        _skipped(given_P_N, enough_P, gap_P, trained_P),
        dict(Counter(response.reason for response in responses if response.reason)),
    )


def _response(judged: RewardTable, row: int, sample: int, advantage: float, reason: str) -> ResponseAdvantage:
    reward = float(judged.rewards_P_N[row, sample])
    return ResponseAdvantage(
        int(judged.numbers_P[row]),
        sample,
        reward if np.isfinite(reward) else None,
        None if reason else float(advantage),
        reason or None,
    )


def _skipped(given_P_N: Bools, enough_P: Bools, gap_P: Bools, trained_P: Bools) -> dict[str, int]:
    """Counts the prompts of which nothing is trained on, each under the first reason that applies."""
    answered_P = given_P_N.any(axis=1)
    skipped = {
        "unanswered": int((~answered_P).sum()),
        "too_few_responses": int((answered_P & ~enough_P).sum()),
        "no_gap": int((enough_P & ~gap_P).sum()),
        LEFT_OUT: int((gap_P & ~trained_P).sum()),
    }
    return {reason: count for reason, count in skipped.items() if count}
