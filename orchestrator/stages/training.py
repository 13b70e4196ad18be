"""The stage that trains a new policy: the file of preference pairs, the training job, the new checkpoint."""

from __future__ import annotations

import errno
import json
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TextIO

from sqlalchemy import Connection

from eva.errors import DiskFullError
from eva.runtime.failpoints import reach
from eva.solver.losses import bradley_terry_win_rate
from eva.types import Checkpoint, Floats, PreferencePair, TrainingResult, TrainingStep
from orchestrator.hold.claimed_run import ClaimedRun
from orchestrator.stages.stage import Stage
from store.game import batches, checkpoints, pairs, responses


class TrainStage(Stage):
    """Runs a training job and stores the checkpoint that it publishes."""

    def checkpoint(self) -> Checkpoint | None:
        """Returns the checkpoint of this iteration if it is already stored."""
        return self.run.checkpoint(self.iteration + 1)

    def report_step(self, step: TrainingStep, total: int) -> None:
        """Reports an optimiser step that is done. Raises RunStoppedError when the run was asked to stop."""
        self.report(step.step, total, step.values)
        reach("train.step_reported")
        self.run.obey()

    def close_training(self, trained: TrainingResult | None, policy: Checkpoint) -> Checkpoint:
        """Stores and returns the new checkpoint: the unchanged policy when there was no pair to train on."""
        unchanged = Checkpoint(self.iteration + 1, self.iteration, policy.path, policy.digest)
        result = trained or TrainingResult(unchanged, ())
        reach("train.published")

        def store_checkpoint(conn: Connection) -> None:
            checkpoints.insert_checkpoint(
                conn, self.run.id, result.checkpoint, parent=policy.number, dropped=result.dropped
            )
            checkpoints.copy_training_steps(conn, self.run.id, result.checkpoint.number, result.steps)

        self.close(store_checkpoint, steps=len(result.steps), dropped=dict(result.dropped))
        return result.checkpoint


def write_pairs(run: ClaimedRun, path: Path, iterations: Iterable[int]) -> int:
    """Writes the preference pairs of these iterations as JSON Lines, in prompt order within each. Returns their number.

    Where the config asks for win rates, these stand in place of the rewards.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    derive = run.config.training.win_rates == "bradley_terry"
    wanted = [*iterations]

    def write(conn: Connection) -> int:
        count = 0
        with new_text_file(path) as lines:
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
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFullError(
            f"no space is left in {path.parent} for {path.name}", next_move="Free some space there"
        ) from error


def _rewards(conn: Connection, run: ClaimedRun, iteration: int) -> dict[int, Floats]:
    """The rewards of each prompt of an iteration's batch, under the policy that the iteration started with."""
    numbers = batches.read_batch_numbers(conn, run.id, iteration)
    judged = responses.read_reward_table(conn, run.id, iteration, run.rewarder, numbers, run.config.generation.n)
    return dict(zip(numbers, judged.rewards_P_N, strict=True))


def _with_win_rates(pair: PreferencePair, rewards_N: Floats) -> PreferencePair:
    return replace(
        pair,
        chosen_reward=bradley_terry_win_rate(rewards_N, pair.chosen_reward),
        rejected_reward=bradley_terry_win_rate(rewards_N, pair.rejected_reward),
    )
