"""The comparison of a policy's greedy responses with a baseline's: who won, prompt by prompt, and the figures of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection

from eva.config.evaluation import INITIAL
from eva.config.rewards import RewardConfig, gives_win_rates
from eva.evaluation.baseline import ComparedResponses, baseline_figures
from eva.evaluation.style import FEATURES
from eva.evaluation.win_rates import preferences, self_preference
from eva.measures.audit import features
from eva.seeds import derive
from eva.types import Checkpoint, Reward
from orchestrator.hold.claimed_run import ClaimedRun
from store.game import comparisons, heldout
from store.rows import HeldoutComparison, JudgeRole

NO_BASELINE = "the baseline has no response"


class _Styled(NamedTuple):
    """A comparison with the style counts of both responses; None where there is no response."""

    item: int
    preference: float | None
    own: tuple[int, ...] | None
    baseline: tuple[int, ...] | None


Comparisons = Mapping[tuple[str, JudgeRole], Sequence[HeldoutComparison]]
"""Comparisons by held-out set and by who has judged."""


class BaselineComparison:
    """Compares one policy with the baseline of each held-out set that has one.

    What is kept is stored by the evaluation stage, together with the responses of the same batch.
    """

    def __init__(self, run: ClaimedRun, policy: Checkpoint) -> None:
        self._run, self._policy = run, policy
        self._kept: dict[tuple[str, JudgeRole], list[HeldoutComparison]] = {}

    def has(self, split: str) -> bool:
        """Whether the policy is compared on this set."""
        return split in self._responses

    def response(self, split: str, item: int) -> str | None:
        """The baseline's response to a prompt; None where it has none."""
        return self._responses.get(split, {}).get(item)

    def keep(self, split: str, item: int, role: JudgeRole, own: Reward, baseline: Reward) -> None:
        """Keeps which response is better, by their rewards."""
        self._keep(split, role, self._compare(item, role, own, baseline))

    def keep_without_baseline(self, split: str, item: int, own: Reward) -> None:
        """Keeps that the baseline has no response to compare with."""
        self._keep(split, "evaluator", HeldoutComparison(item, _finite(own), None, None, NO_BASELINE))

    def keep_failure(self, split: str, item: int, reason: str) -> None:
        """Keeps that the policy gave no response."""
        self._keep(split, "evaluator", HeldoutComparison(item, None, None, None, reason))

    def take(self) -> Comparisons:
        """Returns what was kept since it was called last."""
        kept, self._kept = self._kept, {}
        return kept

    def figures(self, evaluator: str, auditor: str | None) -> dict[str, dict[str, Any]]:
        """The figures of every set, from all comparisons that are stored. The names are those of the rewarders."""
        return {split: self._figures(split, evaluator, auditor) for split in self._responses}

    @cached_property
    def _responses(self) -> dict[str, Mapping[int, str]]:
        """The baseline's responses by set and item; without the sets on which this policy is compared with nothing."""
        # at a later turn, the two responses would be to different conversations
        splits = self._run.read(lambda conn: heldout.heldout_splits(conn, self._run.id, turn=1))
        responses = {split: self._read_responses(split) for split in splits}
        return {split: by_item for split, by_item in responses.items() if by_item is not None}

    def _read_responses(self, split: str) -> Mapping[int, str] | None:
        run, source = self._run, self._run.config.evaluation.baseline_of(split)
        if source is None or (source == INITIAL and self._policy.number == 0):
            return None
        if source != INITIAL:
            return run.read(lambda conn: comparisons.read_baseline(conn, run.id, split))
        rows = run.read(lambda conn: heldout.read_heldout_responses(conn, run.id, 0, split, "greedy"))
        return {row.item: row.text for row in rows if row.finish != "failed"}

    def _keep(self, split: str, role: JudgeRole, comparison: HeldoutComparison) -> None:
        self._kept.setdefault((split, role), []).append(comparison)

    def _compare(self, item: int, role: JudgeRole, own: Reward, baseline: Reward) -> HeldoutComparison:
        reward, baseline_reward = _finite(own), _finite(baseline)
        if reward is None:
            return HeldoutComparison(item, None, baseline_reward, None, own.reason or f"the reward is {own.value}")
        if baseline_reward is None:
            reason = baseline.reason or f"the reward is {baseline.value}"
            return HeldoutComparison(item, reward, None, None, f"the baseline's response: {reason}")
        soft = gives_win_rates(self._rewarder(role))
        (preference,) = preferences(np.array([reward]), np.array([baseline_reward]), win_rates=soft).tolist()
        return HeldoutComparison(item, reward, baseline_reward, preference)

    def _rewarder(self, role: JudgeRole) -> RewardConfig:
        config = self._run.config
        evaluator = config.evaluation.reward or config.reward
        return evaluator if role == "evaluator" else config.audit.reward or evaluator

    def _figures(self, split: str, evaluator: str, auditor: str | None) -> dict[str, Any]:
        run, policy = self._run, self._policy.number
        seed = derive(run.config.seed, "win_rates", split, policy)
        compared = run.read(lambda conn: _read_compared(conn, run.id, split, policy))
        found = baseline_figures(compared, policy, seed=seed)
        if split in run.config.evaluation.judges_own:
            second_P = np.full(len(compared[policy].preference_P), np.nan)
            for row in run.read(lambda conn: comparisons.read_comparisons(conn, run.id, policy, split, "auditor")):
                second_P[row.item] = np.nan if row.preference is None else row.preference
            bias = self_preference(1 - compared[policy].preference_P, 1 - second_P, seed=seed)
            found["self_preference"] = bias and bias | {"rewarder": evaluator, "second_rewarder": auditor}
        return found


def _finite(reward: Reward) -> float | None:
    return reward.value if reward.value is not None and math.isfinite(reward.value) else None


def _read_compared(conn: Connection, run_id: int, split: str, last: int) -> dict[int, ComparedResponses]:
    """The comparisons of all checkpoints up to `last`, by checkpoint, with a row per item for each."""
    rows: dict[int, list[_Styled]] = {}
    for row in comparisons.iter_compared(conn, run_id, split, last):
        styled = _Styled(row.item, row.preference, _counts(row.text), _counts(row.baseline_text))
        rows.setdefault(row.checkpoint, []).append(styled)
    items = 1 + max(row.item for of_checkpoint in rows.values() for row in of_checkpoint)
    return {checkpoint: _as_arrays(of_checkpoint, items) for checkpoint, of_checkpoint in rows.items()}


def _counts(text: str | None) -> tuple[int, ...] | None:
    return None if text is None else features(text)


def _as_arrays(rows: Sequence[_Styled], items: int) -> ComparedResponses:
    preference_P = np.full(items, np.nan)
    counts_2_P_F = np.full((2, items, len(FEATURES)), np.nan)
    for row in rows:
        preference_P[row.item] = np.nan if row.preference is None else row.preference
        for side, counts_F in enumerate((row.own, row.baseline)):
            if counts_F is not None:
                counts_2_P_F[side, row.item] = counts_F
    return ComparedResponses(preference_P, counts_2_P_F[0], counts_2_P_F[1])
