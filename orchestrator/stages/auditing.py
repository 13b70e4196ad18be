"""The stage that audits the rewarder on the batch that has just been judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from sqlalchemy import Connection

from eva.measures.audit import FEATURES, agreement, correlations, features, verbosity_bias
from eva.runtime.failpoints import reach
from eva.seeds import uniforms
from eva.types import Checkpoint, Floats, PromptResponses, RewardedResponses
from orchestrator.hold.claimed_run import ClaimedRun
from orchestrator.stages.judging import reward_cost
from orchestrator.stages.stage import Batch, Stage
from store.game import audit, responses
from store.rows import PartRow
from store.views import statistics


@dataclass(slots=True)
class AuditedBatch(Batch):
    """The second rewarder's rewards of responses of the policy."""

    run: ClaimedRun
    policy: Checkpoint
    auditor: str
    rewarded: list[RewardedResponses] = field(default_factory=list[RewardedResponses])

    def store(self, conn: Connection) -> None:
        responses.copy_rewards(conn, self.run.id, self.policy.number, self.auditor, self.rewarded)

    def tallies(self) -> Mapping[str, float]:
        return reward_cost(self.rewarded)


class AuditStage(Stage):
    """Measures what the rewarder likes besides quality, and how far a second, frozen rewarder agrees with it.

    `auditor` is the second rewarder's name, None where the config has none.
    """

    def __init__(
        self, run: ClaimedRun, iteration: int, batch: Sequence[int], policy: Checkpoint, auditor: str | None
    ) -> None:
        super().__init__(run, iteration, "audit", 0)
        self._batch, self._policy, self._auditor = batch, policy, auditor
        self._kept_rewards: list[RewardedResponses] = []

    def missing(self) -> list[PromptResponses]:
        """Returns the responses of the audit's sample that the auditor has not rewarded yet."""
        if self.complete or self._auditor is None:
            return []
        run, policy, auditor, n = self.run, self._policy, self._auditor, self.run.config.generation.n
        coverage = run.read(lambda conn: responses.coverage(conn, run.id, policy.number, auditor, self._sample, n))
        unrewarded = run.read(lambda conn: responses.read_responses(conn, run.id, policy.number, coverage.to_reward))
        self.expect(len(unrewarded))
        return unrewarded

    def keep_rewards(self, rewarded: RewardedResponses) -> None:
        self._kept_rewards.append(rewarded)
        reach("audit.reward_received")
        self.advance(1)
        self.flush_when_full()

    def close_audit(self) -> None:
        """Stores the figures as statistic "audit"."""
        if self.complete:
            return
        self.flush()
        figures = self._figures()
        self.close(lambda conn: statistics.put_statistic(conn, self.run.id, self.iteration, "audit", figures))

    def take(self) -> Batch:
        kept, self._kept_rewards = self._kept_rewards, []
        return Batch() if self._auditor is None else AuditedBatch(self.run, self._policy, self._auditor, kept)

    @cached_property
    def _sample(self) -> list[int]:
        """The prompts of the batch that the auditor looks at, as many as the config says, drawn by the run's seed."""
        config = self.run.config
        draws_P = uniforms(config.seed, self.iteration, "audit", numbers=np.asarray(self._batch, dtype=np.int64))
        rows: list[int] = np.argsort(draws_P, kind="stable")[: config.audit.prompts].tolist()
        return sorted(self._batch[row] for row in rows)

    def _figures(self) -> Mapping[str, object]:
        run, policy, batch = self.run, self._policy, self._batch
        table = self._table(run.rewarder, batch)
        prompts_K = table[:, 0].astype(np.int64)
        parts = run.read(lambda conn: audit.reward_parts(conn, run.id, policy.number, run.rewarder, batch))
        figures: dict[str, object] = {"rewarder": run.rewarder, "responses": len(table)}
        if len(table):
            figures["features"] = correlations(table[:, 1], table[:, 2:], prompts_K)
            figures["verbosity"] = verbosity_bias(table[:, 1], table[:, 2], prompts_K)
        if parts:
            figures |= part_figures(parts)
        if self._auditor is not None:
            figures["second"] = self._second_opinion(self._auditor)
        return figures

    def _second_opinion(self, auditor: str) -> Mapping[str, object]:
        """How the auditor's rewards of the sample agree with the run's, and how much the auditor likes length."""
        run, policy, n = self.run, self._policy, self.run.config.generation.n
        own_P_N, second_P_N = (
            run.read(
                lambda conn, name=name: responses.read_reward_table(conn, run.id, policy.number, name, self._sample, n)
            ).rewards_P_N
            for name in (run.rewarder, auditor)
        )
        table = self._table(auditor, self._sample)
        return {
            "rewarder": auditor,
            **agreement(own_P_N, second_P_N),
            "verbosity": verbosity_bias(table[:, 1], table[:, 2], table[:, 0].astype(np.int64)),
        }

    def _table(self, rewarder: str, numbers: Sequence[int]) -> Floats:
        """A row per rewarded response to these prompts: prompt, reward, and the counts of FEATURES, length first."""
        run, policy = self.run, self._policy
        rows = run.read(
            lambda conn: [
                (prompt, reward, *features(text))
                for prompt, text, reward in audit.iter_rewarded_texts(conn, run.id, policy.number, rewarder, numbers)
            ]
        )
        return np.array(rows, dtype=np.float64).reshape(len(rows), 2 + len(FEATURES))


def part_figures(parts: Sequence[PartRow]) -> Mapping[str, object]:
    """Means of the parts that rewards are made from; for a judge also its cost and its bias for a position."""
    means = {part.name: part.mean for part in parts}
    totals = {part.name: part.total for part in parts}
    figures: dict[str, object] = {"parts": {name: mean for name, mean in means.items() if name != "cost_usd"}}
    if "cost_usd" in totals:
        figures["cost_usd"] = totals["cost_usd"]
    first, second = means.get("shown_first"), means.get("shown_second")
    if first is not None and second is not None:
        figures["position"] = {"disagreement": means.get("disagreement"), "first": first - second}
    return figures
