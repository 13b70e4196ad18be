"""What a child is worth to the creator that wrote it: its regret, less what it repeats; nothing if it was refused.

The regret of a child is its informativeness in the batch, by the run's own metric: how far apart are the responses of
the policy that it was written for. Children of one parent are each other's baseline.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eva.creator.novelty import scope
from eva.measures.minhash import PERMUTATIONS, signatures
from eva.solver.advantages import weigh
from eva.types import Floats, Prompt, RewardTable

RETRY, NOT_JUDGED = "retry", "not_judged"
REASONS = {
    RETRY: "an earlier reply for the same child was refused: only first replies are compared",
    NOT_JUDGED: "the child was not in the batch",
}
"""Why a reply is not trained on, besides those of `eva.solver.advantages`."""


@dataclass(frozen=True, slots=True)
class Writing:
    """A reply of the creator: the `attempt`-th for child `slot` of prompt `source`.

    `child`: the number of the prompt that it became; None if it was refused, or repeated another child of the
    iteration. `judged`: whether the child was in the batch, and then `regret` is its info there (None for NULL).
    """

    source: int
    slot: int
    attempt: int
    child: int | None
    judged: bool
    regret: float | None


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


def likeness_of(children: Sequence[Prompt], earlier: Sequence[Prompt]) -> dict[int, float]:
    """Returns how much each child repeats: its greatest likeness to another child or an earlier prompt, 0 to 1.

    Likeness is the Jaccard index of word triples, estimated by MinHash, within the same conversation. A child's own
    ancestors do not count: it is meant to be like them. `earlier` holds all prompts before the iteration, by number.
    """
    if not children:
        return {}
    sketches_C_K = signatures([child.text for child in children], [scope(child.context) for child in children])
    sketches_E_K = signatures([prompt.text for prompt in earlier], [scope(prompt.context) for prompt in earlier])
    row_of = {prompt.number: row for row, prompt in enumerate(earlier)}
    found: dict[int, float] = {}
    for row, child in enumerate(children):
        agreeing_C = np.count_nonzero(sketches_C_K == sketches_C_K[row], axis=1)
        agreeing_C[row] = 0
        agreeing_E = np.count_nonzero(sketches_E_K == sketches_C_K[row], axis=1)
        agreeing_E[_ancestors(child, earlier, row_of)] = 0
        found[child.number] = max(int(agreeing_C.max()), int(agreeing_E.max(initial=0))) / PERMUTATIONS
    return found


def _ancestors(child: Prompt, earlier: Sequence[Prompt], row_of: Mapping[int, int]) -> list[int]:
    rows: list[int] = []
    parent = child.parent
    while parent is not None and (row := row_of.get(parent)) is not None:
        rows.append(row)
        parent = earlier[row].parent
    return rows


def reward_children(
    writings: Collection[Writing], likeness: Mapping[int, float], *, rule: str, weight: float
) -> list[ChildReward]:
    """Returns the reward and the advantage of every reply, in their order.

    A child that was accepted and judged gets regret x (1 - `weight` x likeness), with a regret of 0 where none could be
    measured; a refused one gets 0. A `rule` for advantages compares the first replies for the children of one parent.
    Raises ConfigError or InputError if a user's rule does not fulfil its contract.
    """
    worth = [_worth(writing, likeness, weight) for writing in writings]
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
        reason = RETRY if not counts else NOT_JUDGED if one is None else one.reason
        rewarded.append(
            ChildReward(
                writing.source,
                writing.slot,
                writing.attempt,
                writing.regret,
                None if writing.child is None else likeness[writing.child],
                reward,
                None if one is None else one.advantage,
                reason,
            )
        )
    return rewarded


def _worth(writing: Writing, likeness: Mapping[int, float], weight: float) -> float | None:
    if writing.child is None:
        return 0.0
    if not writing.judged:
        return None
    return (writing.regret or 0.0) * (1.0 - weight * likeness[writing.child])
