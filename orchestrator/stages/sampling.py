"""The stage that stores which prompts of the pool were sampled, and why."""

from __future__ import annotations

import logging
from dataclasses import asdict

import numpy as np
from sqlalchemy import Connection

from eva.creator.operators.gain import pool_shrinkage
from eva.creator.sampling import Draw
from eva.creator.steering import Steering
from eva.measures.spread import spread
from eva.measures.statistics import describe
from eva.types import Checkpoint, Estimate, RewardTable
from orchestrator.hold.claimed_run import ClaimedRun
from orchestrator.stages.gain import info_measure, probed_responses
from orchestrator.stages.stage import Stage, null_for_nan
from store.game import batches
from store.rows import EstimateRow
from store.runs import events
from store.views import statistics

log = logging.getLogger(__name__)


class SampleStage(Stage):
    """Stores the info, weight and sampling key of every prompt of the pool: why one was evolved, and another not."""

    def __init__(self, run: ClaimedRun, iteration: int, total: int, steering: Steering) -> None:
        super().__init__(run, iteration, "sample", total)
        self._steering = steering

    def close_draw(self, judged: RewardTable, estimated: Estimate, draw: Draw, policy: Checkpoint) -> None:
        checkpoints = (
            [policy.number] * len(judged.numbers_P) if judged.checkpoints_P is None else judged.checkpoints_P.tolist()
        )
        rows = [
            EstimateRow(number, checkpoint, info, estimated.reason(row), weight, key, sampled)
            for row, (number, checkpoint, info, weight, key, sampled) in enumerate(
                zip(
                    estimated.numbers_P.tolist(),
                    checkpoints,
                    null_for_nan(estimated.info_P),
                    null_for_nan(draw.weights_P),
                    null_for_nan(draw.keys_P),
                    draw.sampled_P.tolist(),
                    strict=True,
                )
            )
        ]

        config, steering = self.run.config, self._steering
        shrinkage = pool_shrinkage(
            judged, info_measure(config), config.informativeness.metric, skipped=probed_responses(config)
        )

        def store_draw(conn: Connection) -> None:
            batches.copy_estimates(conn, self.run.id, self.iteration, rows)
            statistics.put_statistic(
                conn, self.run.id, self.iteration, "pool", {**describe(judged, estimated), "threshold": threshold(draw)}
            )
            statistics.put_statistic(
                conn, self.run.id, self.iteration, "spread", spread(judged, estimated, draw.sampled_P)
            )
            if shrinkage is not None:
                statistics.put_statistic(conn, self.run.id, self.iteration, "shrinkage", asdict(shrinkage))
            if config.collapse.steer:
                statistics.put_statistic(conn, self.run.id, self.iteration, "steering", asdict(steering))
            if steering.level:
                events.append_event(conn, self.run.id, "steered", asdict(steering), iteration=self.iteration)

        if steering.level and not self.complete:
            log.warning("%s", steering)

        self.close(store_draw, sampled=int(draw.sampled_P.sum()), uniform=draw.uniform)


def threshold(draw: Draw) -> float | None:
    """The smallest key among the sampled prompts; None where the rule uses no keys."""
    keys_S = draw.keys_P[draw.sampled_P]
    keys_S = keys_S[np.isfinite(keys_S)]
    return float(keys_S.min()) if len(keys_S) else None
