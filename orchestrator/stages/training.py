"""The stage that trains a new policy: the file of preference pairs, the training job, the new checkpoint."""

from __future__ import annotations

import json
import logging
from array import array
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TextIO

import numpy as np
from sqlalchemy import Connection

from eva.config.rewards import gives_win_rates
from eva.errors import DiskFullError
from eva.runtime.failpoints import reach
from eva.runtime.full_disk import NO_SPACE
from eva.solver.losses import bradley_terry_win_rate, check_win_rate_spread, reward_spread
from eva.types import Checkpoint, Floats, PreferencePair, TrainingResult, TrainingStep
from orchestrator.hold.claimed_run import ClaimedRun
from orchestrator.stages.stage import Stage
from store.game import batches, checkpoints, pairs, responses

log = logging.getLogger(__name__)


class TrainStage(Stage):
    """Runs a training job and stores the checkpoint that it publishes."""

    def checkpoint(self) -> Checkpoint | None:
        """Returns the checkpoint of this iteration if it is already stored, and this is no earlier chunk's part."""
        return self.run.checkpoint(self.iteration + 1) if self.chunk is None or self.chunk.last else None

    def report_step(self, step: TrainingStep, total: int) -> None:
        """Reports an optimiser step that is done. Raises RunStoppedError when the run was asked to stop."""
        self.report(step.step, total, {**self.chunk_figures(), **step.values})
        reach("train.step_reported")
        self.run.obey()

    def close_training(self, trained: TrainingResult | None, policy: Checkpoint) -> Checkpoint:
        """Stores and returns the new checkpoint: the unchanged policy when there was no pair to train on.

        After a chunk that others follow it returns the newest policy, which is no checkpoint.
        """
        if self.chunk is not None and not self.chunk.last:
            return self._take_over(trained, policy)
        unchanged = Checkpoint(self.iteration + 1, self.iteration, policy.path, policy.digest)
        result = trained or TrainingResult(unchanged, ())
        reach("train.published")

        def store_checkpoint(conn: Connection) -> None:
            checkpoints.insert_checkpoint(
                conn, self.run.id, result.checkpoint, parent=policy.number, dropped=result.dropped
            )
            checkpoints.copy_training_steps(conn, self.run.id, result.checkpoint.number, result.steps)

        cut = {} if self.chunk is None else {"chunks": self.chunk.of}
        self.close(store_checkpoint, steps=len(result.steps), dropped=dict(result.dropped), **cut)
        return result.checkpoint

    def _take_over(self, trained: TrainingResult | None, policy: Checkpoint) -> Checkpoint:
        if trained is None:
            return policy
        reach("chunk.trained")
        self.close()
        return trained.checkpoint


def write_pairs(run: ClaimedRun, path: Path, iterations: Iterable[int], chunk: int | None = None) -> int:
    """Writes the preference pairs of these iterations as JSON Lines, in prompt order within each. Returns their number.

    With `chunk`, only those of this chunk of the batch.

    Where the config asks for win rates, these stand in place of the rewards. Raises InputError if the loss learns win
    rates and those of the first batch teach nothing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    training = run.config.training
    derive = training.win_rates == "bradley_terry"
    wanted = [*iterations]

    def write(conn: Connection) -> int:
        count, first = 0, array("d")
        scale = _win_rate_scale(conn, run) if derive else 1.0
        with new_text_file(path) as lines:
            for iteration in wanted:
                rewards_N_of = _rewards(conn, run, iteration) if derive else {}
                for pair in pairs.iter_pairs_with_texts(conn, run.id, iteration, chunk):
                    row = _with_win_rates(pair, rewards_N_of[pair.number], scale) if derive else pair
                    lines.write(json.dumps(_as_row(row)) + "\n")
                    count += 1
                    if iteration == 0 and not chunk and training.loss == "sppo":
                        first.extend((row.chosen_reward, row.rejected_reward))
                    reach("pairs.row_written")
        against = run.config.generation.n - 1 if derive or gives_win_rates(run.config.reward) else None
        check_win_rate_spread(np.array(first), against, derived=derive, scale=scale)
        return count

    count = run.read(write)
    reach("pairs.file_written")
    return count


def _as_row(pair: PreferencePair) -> dict[str, object]:
    """Leaves an empty `context` out, so that a job of plain prompts keeps the digest it had before contexts existed."""
    row = asdict(pair)
    if not pair.context:
        del row["context"]
    return row


@contextmanager
def new_text_file(path: Path) -> Generator[TextIO]:
    """Opens a new text file for writing. Raises DiskFullError, which names the folder."""
    try:
        with path.open("w", encoding="utf-8") as file:
            yield file
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        raise DiskFullError(
            f"no space is left in {path.parent} for {path.name}", next_move="Free some space there"
        ) from error


def _rewards(conn: Connection, run: ClaimedRun, iteration: int, chunks: int | None = None) -> dict[int, Floats]:
    """The rewards of each prompt of an iteration's batch, or of its first chunks, under the policies that it had."""
    numbers = batches.read_batch_numbers(conn, run.id, iteration, chunks=chunks)
    judged = responses.read_reward_table(conn, run.id, iteration, run.rewarder, numbers, run.config.generation.n)
    return dict(zip(numbers, judged.rewards_P_N, strict=True))


def _win_rate_scale(conn: Connection, run: ClaimedRun) -> float:
    """The scale of the rewards: one for the whole run, so that later batches are not stretched to the first one's.

    Of a first batch that is cut, the first chunk decides.
    """
    scale = run.config.training.win_rate_scale
    if scale != "spread":
        return scale
    rewards_N_of = _rewards(conn, run, 0, chunks=1)
    spread = reward_spread(np.stack([*rewards_N_of.values()])) if rewards_N_of else None
    log.info("win rates are derived from the rewards with the scale %s", "1" if spread is None else f"{spread:g}")
    return spread or 1.0


def _with_win_rates(pair: PreferencePair, rewards_N: Floats, scale: float) -> PreferencePair:
    return replace(
        pair,
        chosen_reward=bradley_terry_win_rate(rewards_N, pair.chosen_reward, scale),
        rejected_reward=bradley_terry_win_rate(rewards_N, pair.rejected_reward, scale),
    )
