"""The stage that stores the batch and its preference pairs."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from eva.measures.statistics import describe
from eva.measures.usability import check_pairs
from eva.solver.pairs import Pairing
from eva.types import Checkpoint, Estimate, RewardTable
from orchestrator.stages.gain import batch_gains, unprobed_info
from orchestrator.stages.stage import Stage, null_for_nan
from store.game import batches, pairs
from store.rows import BatchRow
from store.views import statistics


class PairStage(Stage):
    """Stores the batch with the info of its prompts, its preference pairs, and how each operator's children fared."""

    def close_pairs(
        self, judged: RewardTable, estimated: Estimate, pairing: Pairing, pool: Sequence[int], policy: Checkpoint
    ) -> None:
        from_pool = set(pool)
        rows = [
            BatchRow(number, number in from_pool, policy.number, info, estimated.reason(row))
            for row, (number, info) in enumerate(
                zip(estimated.numbers_P.tolist(), null_for_nan(estimated.info_P), strict=True)
            )
        ]

        new_info = unprobed_info(judged, estimated, self.run.config)

        if self.iteration == 0 and not self.complete:
            check_pairs(len(pairing.pairs), len(judged.numbers_P), pairing.skipped)

        def store_pairs(conn: Connection) -> None:
            batches.copy_batch(conn, self.run.id, self.iteration, rows)
            pairs.copy_pairs(conn, self.run.id, self.iteration, policy.number, pairing.pairs)
            statistics.put_statistic(conn, self.run.id, self.iteration, "batch", describe(judged, estimated))
            payoff = batch_gains(conn, self.run.id, self.iteration, new_info)
            statistics.put_statistic(conn, self.run.id, self.iteration, "payoff", payoff)

        self.close(store_pairs, pairs=len(pairing.pairs), skipped=pairing.skipped)
