"""What a child is worth to the creator that wrote it: its regret, less what it repeats; nothing if it was refused.

The regret of a child is its informativeness in the batch, by the run's own metric: how far apart are the responses of
the policy that it was written for. What it repeats is its likeness, measured at its birth (`eva.creator.likeness`).
Children of one parent are each other's baseline.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from eva.solver.advantages import weigh
from eva.types import Floats, RewardTable

RETRY, NOT_JUDGED, NOT_WRITTEN = "retry", "not_judged", "not_written"
REASONS = {
    RETRY: "an earlier reply for the same child was refused: only first replies are compared",
    NOT_JUDGED: "the child was not in the batch",
    NOT_WRITTEN: "the engines could not answer, so the creator chose nothing",
}
"""Why a reply is not trained on, besides those of `eva.solver.advantages`."""


@dataclass(frozen=True, slots=True)
class Writing:
    """A reply of the creator: the `attempt`-th for child `slot` of prompt `source`.

    `child`: the number of the prompt that it became; None if it was refused, or repeated another child of the
    iteration. `judged`: whether the child was in the batch, and then `regret` is its info there (None for NULL).
    `likeness`: how much the child repeats (None without a child). `written`: whether there is a reply at all; an engine
    cannot answer an instruction that is longer than its context.
    """

    source: int
    slot: int
    attempt: int
    child: int | None
    judged: bool
    regret: float | None
    likeness: float | None = None
    written: bool = True


@dataclass(frozen=True, slots=True)
class ChildReward:
    """What a reply is worth. `reward` is None if it is not known, `advantage` if it is not trained on (`reason`).

    `regret` and `likeness` are None where they were not measured.
    """

    source: int
    slot: int
    attempt: int
    regret: float | None
    likeness: float | None
    reward: float | None
    advantage: float | None
    reason: str | None


def reward_children(writings: Collection[Writing], *, rule: str, weight: float) -> list[ChildReward]:
    """Returns the reward and the advantage of every reply, in their order.

    A child that was accepted and judged gets regret x (1 - `weight` x likeness), with a regret of 0 where none could be
    measured; a refused one gets 0. Of a child that was not judged, or not written, the reward is not known.
    A `rule` for advantages compares the first replies for the children of one parent.

    Raises ConfigError or InputError if a user's rule does not fulfil its contract.
    """
    worth = [_worth(writing, weight) for writing in writings]
    first = [writing.attempt == 0 for writing in writings]
    sources = sorted({writing.source for writing in writings})
    row_of, slots = {source: row for row, source in enumerate(sources)}, 1 + max((w.slot for w in writings), default=0)
    rewards_P_N: Floats = np.full((len(sources), slots), np.nan)
    for writing, reward, counts in zip(writings, worth, first, strict=True):
        if counts and reward is not None:
            rewards_P_N[row_of[writing.source], writing.slot] = reward
    given_P_N = np.isfinite(rewards_P_N)
    table = RewardTable(np.array(sources, np.int64), rewards_P_N, given_P_N.astype(np.int64), np.zeros_like(given_P_N))
    weighed = {(one.number, one.sample): one for one in weigh(table, rule=rule).responses}
    rewarded: list[ChildReward] = []
    for writing, reward, counts in zip(writings, worth, first, strict=True):
        one = weighed.get((writing.source, writing.slot)) if counts else None
        unknown = NOT_JUDGED if writing.written else NOT_WRITTEN
        reason = RETRY if not counts else unknown if one is None else one.reason
        rewarded.append(
            ChildReward(
                writing.source,
                writing.slot,
                writing.attempt,
                writing.regret,
                writing.likeness,
                reward,
                None if one is None else one.advantage,
                reason,
            )
        )
    return rewarded


def _worth(writing: Writing, weight: float) -> float | None:
    if writing.child is None:
        return 0.0 if writing.written else None
    if not writing.judged:
        return None
    return (writing.regret or 0.0) * (1.0 - weight * (writing.likeness or 0.0))
