"""The stages that store the batch and what the solver learns from: preference pairs, or the advantages of responses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from sqlalchemy import Connection

from eva.creator.informativeness import estimate
from eva.measures.statistics import describe
from eva.measures.usability import check_pairs, check_weighed
from eva.solver.advantages import Weighing
from eva.solver.pairs import Pairing
from eva.types import Checkpoint, Estimate, RewardTable
from orchestrator.stages.gain import batch_gains, unprobed_info
from orchestrator.stages.stage import Stage, null_for_nan
from store.game import batches, pairs, responses
from store.rows import BatchRow, ChunkRow
from store.runs import events
from store.views import statistics


@dataclass(frozen=True, slots=True)
class Learned:
    """What a batch or a chunk gives the solver to learn from: so many `items` of this kind.

    `skipped` counts prompts that give none, by reason. `store` writes the items, `check` raises InputError if the first
    batch of a run has none.
    """

    kind: Literal["pairs", "responses"]
    items: int
    skipped: Mapping[str, int]
    store: Callable[[Connection], None]
    check: Callable[[int, int, Mapping[str, int]], None]


class BatchStage(Stage):
    """Stores the batch with the info of its prompts, and how each operator's children fared."""

    def close_batch(
        self,
        judged: RewardTable,
        estimated: Estimate,
        learned: Learned,
        pool: Sequence[int],
        policy: Checkpoint,
        **counts: object,
    ) -> None:
        """Stores the batch, or this stage's chunk of it, with what it gives to learn from."""
        from_pool = set(pool)
        part = None if self.chunk is None else self.chunk.number
        rows = [
            BatchRow(number, number in from_pool, policy.number, info, estimated.reason(row), part)
            for row, (number, info) in enumerate(
                zip(estimated.numbers_P.tolist(), null_for_nan(estimated.info_P), strict=True)
            )
        ]
        earlier = self._earlier()
        skipped = dict(sum((Counter(row.skipped) for row in earlier), Counter(learned.skipped)))
        count = learned.items + sum(row.pairs for row in earlier)
        last = self.chunk is None or self.chunk.last
        whole, info = (judged, estimated) if not earlier or not last else self._whole(policy)
        new_info = unprobed_info(whole, info, self.run.config) if last else {}

        if self.iteration == 0 and last and not self.complete:
            learned.check(count, len(whole.numbers_P), skipped)

        def store_batch(conn: Connection) -> None:
            batches.copy_batch(conn, self.run.id, self.iteration, rows)
            learned.store(conn)
            if self.chunk is not None:
                self._store_chunk(conn, judged, learned)
            if last:
                statistics.put_statistic(conn, self.run.id, self.iteration, "batch", describe(whole, info))
                payoff = batch_gains(conn, self.run.id, self.iteration, new_info)
                statistics.put_statistic(conn, self.run.id, self.iteration, "payoff", payoff)

        if not self.complete:
            self.advance(len(rows))
        self.close(store_batch, **{learned.kind: count}, skipped=skipped, **counts, **self._cut())

    def _earlier(self) -> list[ChunkRow]:
        """The stored chunks of the batch before this one."""
        if self.chunk is None or self.chunk.first:
            return []
        rows = self.run.read(lambda conn: batches.read_chunks(conn, self.run.id, self.iteration))
        return rows[: self.chunk.number]

    def _whole(self, policy: Checkpoint) -> tuple[RewardTable, Estimate]:
        """The rewards and the info of the whole batch, whose chunks are all judged."""
        assert self.chunk is not None
        run, config, batch = self.run, self.run.config, self.chunk.batch
        judged = run.read(
            lambda conn: responses.read_reward_table(
                conn, run.id, policy.number, run.rewarder, batch, config.generation.n
            )
        )
        info = estimate(
            judged,
            metric=config.informativeness.metric,
            threshold=config.informativeness.threshold,
            keep_cut=config.generation.keep_cut,
        )
        return judged, info

    def _store_chunk(self, conn: Connection, judged: RewardTable, learned: Learned) -> None:
        """Stores the chunk's row, and an event the first time."""
        assert self.chunk is not None
        finite = judged.rewards_P_N[np.isfinite(judged.rewards_P_N)]
        row = ChunkRow(
            self.chunk.number,
            self.chunk.of,
            len(self.chunk.prompts),
            learned.items,
            learned.skipped,
            float(finite.mean()) if len(finite) else None,
        )
        if batches.insert_chunk(conn, self.run.id, self.iteration, row):
            told = {"chunk": row.chunk + 1, "of": row.of, "prompts": row.prompts, learned.kind: row.pairs}
            events.append_event(conn, self.run.id, "chunk_paired", told, iteration=self.iteration, stage=self.name)

    def _cut(self) -> dict[str, int]:
        return {} if self.chunk is None else {"chunks": self.chunk.of}


class PairStage(BatchStage):
    """Stores the batch and its preference pairs."""

    def close_pairs(
        self, judged: RewardTable, estimated: Estimate, pairing: Pairing, pool: Sequence[int], policy: Checkpoint
    ) -> None:
        """Stores the pairs of the batch, or of this stage's chunk of it.

        Raises InputError if the first batch of the run has no pair at all.
        """

        def store(conn: Connection) -> None:
            pairs.copy_pairs(conn, self.run.id, self.iteration, policy.number, pairing.pairs)

        learned = Learned("pairs", len(pairing.pairs), pairing.skipped, store, check_pairs)
        self.close_batch(judged, estimated, learned, pool, policy)


class AdvantageStage(BatchStage):
    """Stores the batch and the advantage of every response to its prompts."""

    def close_advantages(
        self, judged: RewardTable, estimated: Estimate, weighing: Weighing, pool: Sequence[int], policy: Checkpoint
    ) -> None:
        """Stores the advantages of the batch's responses, or of those of this stage's chunk.

        Raises InputError if no response to the first batch of the run is trained on.
        """

        def store(conn: Connection) -> None:
            pairs.copy_advantages(conn, self.run.id, self.iteration, policy.number, weighing.responses)

        learned = Learned("responses", weighing.trained, weighing.skipped, store, check_weighed)
        self.close_batch(judged, estimated, learned, pool, policy, left_out=self._left_out(weighing))

    def _left_out(self, weighing: Weighing) -> dict[str, int]:
        """Counts the responses of the whole batch that are not trained on, by reason."""
        earlier = Counter[str]()
        if self.chunk is not None and not self.chunk.first:
            earlier = self.run.read(lambda conn: pairs.count_left_out(conn, self.run.id, self.iteration))
        return dict(earlier + Counter(weighing.left_out))
