"""The stage that audits the rewarder on the batch that it has just judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from sqlalchemy import Connection

from eva.measures.audit import FEATURES, agreement, correlations, features, verbosity_bias
from eva.runtime.failpoints import reach
from eva.seeds import uniforms
from eva.types import Checkpoint, Floats, PromptResponses, RewardedResponses
from orchestrator.stages.judging import paid
from orchestrator.stages.stage import Stage
from store.game import audit, responses
from store.rows import PartRow
from store.views import statistics


class AuditStage(Stage):
    """What the rewarder likes besides quality, and how far a second, frozen rewarder agrees with it."""

    _rewarded: list[RewardedResponses]
    _second: str | None = None

    def unaudited(self, batch: Sequence[int], policy: Checkpoint, second: str) -> list[PromptResponses]:
        """A sample of the batch, as many prompts as the config says: those whose answers `second` has not rewarded."""
        self.forget()
        self._second, self._policy = second, policy
        run = self.run
        draws_P = uniforms(run.config.seed, self.iteration, "audit", numbers=np.asarray(batch, dtype=np.int64))
        drawn: list[int] = np.argsort(draws_P, kind="stable")[: run.config.audit.prompts].tolist()
        self._sample = sorted(batch[place] for place in drawn)
        if self.complete:
            return []
        n = run.config.generation.n
        lacking = run.read(lambda conn: responses.coverage(conn, run.id, policy.number, second, self._sample, n))
        answered = run.read(lambda conn: responses.read_answered(conn, run.id, policy.number, lacking.to_reward))
        self.expect(len(answered))
        return answered

    def keep_audited(self, rewarded: RewardedResponses) -> None:
        self._rewarded.append(rewarded)
        reach("audit.reward_received")
        self.advance(1)
        self.kept()

    def close_audit(self, batch: Sequence[int], policy: Checkpoint) -> None:
        """Store the figures as statistic "audit"."""
        if self.complete:
            return
        self.flush()
        figures = self._figures(batch, policy)
        self.close(lambda conn: statistics.put_statistic(conn, self.run.id, self.iteration, "audit", figures))

    def store(self, conn: Connection) -> None:
        if self._second is not None:
            responses.copy_rewarded(conn, self.run.id, self._policy.number, self._second, self._rewarded)

    def tallies(self) -> Mapping[str, float]:
        return {} if self._second is None else paid(self._rewarded)

    def forget(self) -> None:
        self._rewarded = []

    def _figures(self, batch: Sequence[int], policy: Checkpoint) -> Mapping[str, object]:
        run = self.run
        table = self._table(run.rewarder, batch, policy)
        prompts_K = table[:, 0].astype(np.int64)
        parts = run.read(lambda conn: audit.reward_parts(conn, run.id, policy.number, run.rewarder, batch))
        found: dict[str, object] = {"rewarder": run.rewarder, "responses": len(table)}
        if len(table):
            found["features"] = correlations(table[:, 1], table[:, 2:], prompts_K)
            found["verbosity"] = verbosity_bias(table[:, 1], table[:, 2], prompts_K)
        if parts:
            found |= part_figures(parts)
        if self._second is not None:
            found["second"] = self._compared(self._second, policy)
        return found

    def _compared(self, second: str, policy: Checkpoint) -> Mapping[str, object]:
        """The second rewarder against the run's, on the sample: agreement, and its own taste for length."""
        run, n = self.run, self.run.config.generation.n
        first_P_N, second_P_N = (
            run.read(
                lambda conn, name=name: responses.judged(conn, run.id, policy.number, name, self._sample, n)
            ).rewards_P_N
            for name in (run.rewarder, second)
        )
        table = self._table(second, self._sample, policy)
        return {
            "rewarder": second,
            **agreement(first_P_N, second_P_N),
            "verbosity": verbosity_bias(table[:, 1], table[:, 2], table[:, 0].astype(np.int64)),
        }

    def _table(self, rewarder: str, numbers: Sequence[int], policy: Checkpoint) -> Floats:
        """A row per rewarded response of these prompts: prompt, reward, and the counts of FEATURES, length first."""
        run = self.run
        rows = run.read(
            lambda conn: [
                (prompt, reward, *features(text))
                for prompt, text, reward in audit.iter_rewarded_texts(conn, run.id, policy.number, rewarder, numbers)
            ]
        )
        return np.array(rows, dtype=np.float64).reshape(len(rows), 2 + len(FEATURES))


def part_figures(parts: Sequence[PartRow]) -> Mapping[str, object]:
    """Means of what the rewards were made from; of one that compares also its cost and its taste for positions."""
    means = {part.name: part.mean for part in parts}
    totals = {part.name: part.total for part in parts}
    figures: dict[str, object] = {"parts": {name: mean for name, mean in means.items() if name != "cost_usd"}}
    if "cost_usd" in totals:
        figures["cost_usd"] = totals["cost_usd"]
    first, second = means.get("shown_first"), means.get("shown_second")
    if first is not None and second is not None:
        figures["position"] = {"disagreement": means.get("disagreement"), "first": first - second}
    return figures
