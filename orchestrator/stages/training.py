"""The stages that train a new policy, or a creator: the file to learn from, the training job, the new checkpoint."""

from __future__ import annotations

import json
import logging
from array import array
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TextIO

import numpy as np
from sqlalchemy import Connection

from eva.config.rewards import gives_win_rates
from eva.errors import DiskFullError, RunStoppedError
from eva.runtime.failpoints import reach
from eva.runtime.full_disk import NO_SPACE, full_disk_errors
from eva.solver.chunks import Chunk
from eva.solver.drift import Stray, strays
from eva.solver.losses import bradley_terry_win_rate, check_win_rate_spread, reward_spread
from eva.solver.token_record import RecordManifest, iter_token_records
from eva.solver.weighted_responses import weighted_response, write_weighted_responses
from eva.types import Checkpoint, Floats, Player, PreferencePair, TrainingResult, TrainingStep
from orchestrator.hold.claimed_run import ClaimedRun
from orchestrator.stages.stage import Stage
from store.game import batches, checkpoints, evolutions, pairs, responses
from store.runs import events, runs, token_files

log = logging.getLogger(__name__)


class TrainStage(Stage):
    """Runs a training job and stores the checkpoint that it publishes.

    `beside` returns figures of what goes on meanwhile, to show with those of a step.
    """

    player: Player = "solver"

    def __init__(
        self,
        run: ClaimedRun,
        iteration: int,
        name: str,
        total: int,
        chunk: Chunk | None = None,
        *,
        beside: Callable[[], Mapping[str, float]] = dict[str, float],
    ) -> None:
        super().__init__(run, iteration, name, total, chunk)
        self._beside = beside

    def checkpoint(self) -> Checkpoint | None:
        """Returns the checkpoint of this iteration if it is already stored, and this is no earlier chunk's part."""
        over = self.chunk is None or self.chunk.last
        return self.run.checkpoint(self.iteration + 1, self.player) if over else None

    def report_step(self, step: TrainingStep, total: int) -> None:
        """Reports an optimiser step that is done. Raises RunStoppedError when the run was asked to stop."""
        self.report(step.step, total, {**self.chunk_figures(), **self._beside(), **step.values})
        reach("train.step_reported")
        if strayed := strays(step.values, self.run.config.training_of(self.player).bounds):
            self._pause(step, strayed)
        self.run.obey()

    def _pause(self, step: TrainingStep, strayed: Sequence[Stray]) -> None:
        """Pauses the run, unless it was already asked to stop. The training starts again when it is resumed."""
        whose = self.run.name if self.player == "solver" else f"{self.run.name}'s creator"
        message = f"step {step.step} of the training of {whose} left its bounds: {', '.join(map(str, strayed))}"
        section = "training" if self.player == "solver" else "evolving.evolver.training"
        log.warning(message)

        def pause(conn: Connection) -> None:
            for stray in strayed:
                told = {"step": step.step, **asdict(stray)}
                events.append_event(conn, self.run.id, "drift", told, iteration=self.iteration, stage=self.name)
            if runs.read_desired(conn, self.run.id) == "run":
                runs.set_desired(conn, self.run.id, "pause")

        self.run.tell(pause)
        raise RunStoppedError(
            message,
            next_move=f"Lower {section}.learning_rate or {section}.epochs, or raise the bound, and resume with "
            f"`eva run --resume {self.run.name} --accept-changes`; as it is, the run would stop at this step again",
        )

    def close_training(self, trained: TrainingResult | None, policy: Checkpoint) -> Checkpoint:
        """Stores and returns the new checkpoint: the unchanged policy when there was nothing to train on.

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


class CreatorTrainStage(TrainStage):
    """Runs the training job of the creator and stores the checkpoint that it publishes."""

    player: Player = "creator"

    def close_training(self, trained: TrainingResult | None, policy: Checkpoint) -> Checkpoint:
        """Stores and returns the creator's new checkpoint; the old one if there was nothing to train on."""
        reach("creator.published")
        if trained is None:
            self.close(steps=0)
            return policy

        def store_checkpoint(conn: Connection) -> None:
            checkpoints.insert_checkpoint(
                conn, self.run.id, trained.checkpoint, parent=policy.number, dropped=trained.dropped, player="creator"
            )
            checkpoints.copy_training_steps(conn, self.run.id, trained.checkpoint.number, trained.steps, "creator")

        self.close(store_checkpoint, steps=len(trained.steps), dropped=dict(trained.dropped))
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

    return run.read(write)


def write_responses(run: ClaimedRun, path: Path, iterations: Iterable[int], chunk: int | None = None) -> int:
    """Writes the responses that an iteration trains on, with their tokens, in one order. Returns their number.

    With `chunk`, only those to the prompts of this chunk. Raises TokenRecordError if the tokens of one are missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    (iteration,) = iterations
    weighed = run.read(lambda conn: pairs.read_advantages(conn, run.id, iteration, trained=True, chunk=chunk))
    files = run.read(lambda conn: token_files.read_token_files(conn, run.id, iteration))
    of = {
        (row.number, row.sample): (row.reward, row.advantage)
        for row in weighed
        if row.reward is not None and row.advantage is not None
    }
    records = iter_token_records(RecordManifest(run.name, run.folder, files), iteration, of.keys())
    rows = [weighted_response(record, *of[record.number, record.sample]) for record in records]
    with full_disk_errors(path.parent):
        return write_weighted_responses(path, rows)


def write_children(run: ClaimedRun, path: Path, iteration: int) -> int:
    """Writes the creator's replies of an iteration that are trained on, with their tokens. Returns their number.

    Raises TokenRecordError if the tokens of one are missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    rewarded = run.read(lambda conn: evolutions.read_creator_rewards(conn, run.id, iteration))
    files = run.read(lambda conn: token_files.read_token_files(conn, run.id, iteration, "creator"))
    of = {
        (one.source, one.slot): (one.reward, one.advantage)
        for one in rewarded
        if one.reward is not None and one.advantage is not None
    }
    records = iter_token_records(RecordManifest(run.name, run.folder, files), iteration, of.keys())
    with full_disk_errors(path.parent):
        return write_weighted_responses(
            path, (weighted_response(record, *of[record.number, record.sample]) for record in records)
        )


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
