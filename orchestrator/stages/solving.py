"""The solver's stages that store something: the preference pairs, and the new checkpoint."""

from __future__ import annotations

import errno
import json
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TextIO

from sqlalchemy import Connection

from eva.creator.informativeness import Estimate
from eva.errors import DiskFullError
from eva.measures.statistics import describe
from eva.runtime.failpoints import reach
from eva.solver.losses import bradley_terry_win_rate
from eva.solver.pairs import Pairing
from eva.types import Checkpoint, Floats, PreferencePair, RewardTable, TrainingResult, TrainingStep
from orchestrator.hold.claimed_run import ClaimedRun
from orchestrator.stages.creating import nullable
from orchestrator.stages.stage import Stage
from store.game import batches, checkpoints, pairs, responses
from store.rows import BatchRow
from store.views import statistics


class PairStage(Stage):
    """The batch, what it was worth to the policy, and its preference pairs."""

    def close_pairs(
        self, judged: RewardTable, estimated: Estimate, pairing: Pairing, pool: Sequence[int], policy: Checkpoint
    ) -> None:
        from_pool = set(pool)
        rows = [
            BatchRow(number, number in from_pool, policy.number, info, estimated.reason(row))
            for row, (number, info) in enumerate(
                zip(estimated.numbers_P.tolist(), nullable(estimated.info_P), strict=True)
            )
        ]

        def store_pairs(conn: Connection) -> None:
            batches.copy_batch(conn, self.run.id, self.iteration, rows)
            pairs.copy_pairs(conn, self.run.id, self.iteration, policy.number, pairing.pairs)
            statistics.put_statistic(conn, self.run.id, self.iteration, "batch", describe(judged, estimated))
            paid = statistics.operator_payoff(conn, self.run.id, self.iteration)
            statistics.put_statistic(conn, self.run.id, self.iteration, "payoff", paid)

        self.close(store_pairs, pairs=len(pairing.pairs), skipped=pairing.skipped)


class TrainStage(Stage):
    """A training job, and the checkpoint that it published."""

    def trained(self) -> Checkpoint | None:
        """The checkpoint of this iteration, if it is stored already."""
        return self.run.checkpoint(self.iteration + 1)

    def step(self, step: TrainingStep, total: int) -> None:
        """One optimiser step is done; leave here if the run was asked to."""
        self.report(step.step, total, step.values)
        reach("train.step_reported")
        self.run.obey()

    def close_trained(self, trained: TrainingResult | None, policy: Checkpoint) -> Checkpoint:
        """Store the new checkpoint and its steps; without a pair to train on, the policy goes on as it is."""
        if trained is None:
            trained = TrainingResult(Checkpoint(self.iteration + 1, self.iteration, policy.path, policy.digest), ())
        result = trained
        reach("train.published")

        def store_checkpoint(conn: Connection) -> None:
            checkpoints.insert_checkpoint(
                conn, self.run.id, result.checkpoint, parent=policy.number, dropped=result.dropped
            )
            checkpoints.copy_training_steps(conn, self.run.id, result.checkpoint.number, result.steps)

        self.close(store_checkpoint, steps=len(result.steps), dropped=dict(result.dropped))
        return result.checkpoint


def write_pairs(run: ClaimedRun, path: Path, iterations: Iterable[int]) -> int:
    """Write the preference pairs of these iterations as JSON Lines, by prompt within each; how many there are.

    Their rewards are win rates where the config derives those.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    derive = run.config.training.win_rates == "bradley_terry"
    wanted = [*iterations]

    def write(conn: Connection) -> int:
        count = 0
        with written(path) as lines:
            for iteration in wanted:
                rewards_N_of = _rewards(conn, run, iteration) if derive else {}
                for pair in pairs.iter_pairs_with_texts(conn, run.id, iteration):
                    row = _with_win_rates(pair, rewards_N_of[pair.number]) if derive else pair
                    lines.write(json.dumps(_as_row(row)) + "\n")
                    count += 1
                    reach("pairs.row_written")
        return count

    count = run.read(write)
    reach("pairs.file_written")
    return count


def _as_row(pair: PreferencePair) -> dict[str, object]:
    """Without `context` where there is none: the digest of a job of plain prompts stays what it was before contexts."""
    row = asdict(pair)
    if not pair.context:
        del row["context"]
    return row


@contextmanager
def written(path: Path) -> Generator[TextIO]:
    """A new text file. Raises DiskFullError that names its folder."""
    try:
        with path.open("w", encoding="utf-8") as file:
            yield file
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFullError(
            f"no space is left in {path.parent} for {path.name}", next_move="Free some space there"
        ) from error


def _rewards(conn: Connection, run: ClaimedRun, iteration: int) -> dict[int, Floats]:
    """The rewards of each prompt of an iteration's batch, under the policy that the iteration started from."""
    numbers = batches.read_batch_numbers(conn, run.id, iteration)
    judged = responses.judged(conn, run.id, iteration, run.rewarder, numbers, run.config.generation.n)
    return dict(zip(numbers, judged.rewards_P_N, strict=True))


def _with_win_rates(pair: PreferencePair, rewards_N: Floats) -> PreferencePair:
    return replace(
        pair,
        chosen_reward=bradley_terry_win_rate(rewards_N, pair.chosen_reward),
        rejected_reward=bradley_terry_win_rate(rewards_N, pair.rejected_reward),
    )
