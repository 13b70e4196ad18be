"""The jobs of semi-online training: they learn from the chunks that a trainer lacks, and hand its weights over."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eva.config import Model, Training
from eva.runtime.failpoints import reach
from eva.runtime.worker_reports import Note, StepListener
from eva.types import Checkpoint, TrainingJob, TrainingResult
from workers.models.model_folder import inspect_model
from workers.training import checkpoint_files, checkpoints
from workers.training.chunks.resident import ResidentTrainer, pairs_digest
from workers.training.chunks.resident_group import ResidentGroup
from workers.training.chunks.rolling_state import newest_state, publish_state

KEPT_STEPS = 2
"""How many of the handed-over policies of an iteration lie on the disk at a time: an engine that is replaced may still
open the one that it serves until it gets the next."""

Resident = ResidentTrainer | ResidentGroup


@dataclass(frozen=True, slots=True, eq=False)
class ChunkJob:
    """A job of chunks, and what it needs. `identity`: everything but the pairs that decides its iteration's weights."""

    job: TrainingJob
    training: Training
    model: Model
    identity: Mapping[str, Any]
    gpu: bool

    @property
    def mark(self) -> str:
        """A digest of the identity."""
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()

    @property
    def states(self) -> Path:
        """The folder of the iteration's rolling states."""
        return Path(self.job.folder) / "states" / f"iteration-{self.job.iteration:04d}"


class Residence:
    """Where a training process keeps the trainer of an iteration between two jobs."""

    def __init__(self) -> None:
        self._trainer: Resident | None = None
        self._mark = ""

    def trainer(self, wanted: ChunkJob, note: Note) -> Resident:
        """Returns the trainer if it is the iteration's and has learned only from the job's chunks, else a new one.

        A new one goes on from the newest stored state, or from the iteration's policy. Raises CheckpointError.
        """
        digests = [pairs_digest(chunk.pairs_path) for chunk in wanted.job.chunks]
        trainer = self._trainer
        if trainer is not None and self._mark == wanted.mark and trainer.learned == digests[: len(trainer.learned)]:
            return trainer
        self.leave()
        verify_policies(wanted.job, note)
        self._trainer = trainer = _new_trainer(wanted)
        self._mark = wanted.mark
        stored = newest_state(wanted.states, wanted.mark, digests)
        if stored is not None:
            note(f"goes on from its state after chunk {len(stored.progress.learned)}")
            trainer.resume(stored)
        return trainer

    def leave(self) -> None:
        """Ends the trainer, if there is one."""
        if self._trainer is not None:
            self._trainer.close()
        self._trainer = None


def _new_trainer(wanted: ChunkJob) -> Resident:
    group = wanted.gpu or wanted.training.devices > 1
    kind = ResidentGroup if group else ResidentTrainer
    return kind(wanted.job, wanted.training, wanted.model, gpu=wanted.gpu)


def learn_chunks(wanted: ChunkJob, residence: Residence, report: StepListener, note: Note) -> Resident:
    """Returns the trainer of the job's iteration when it has trained on all of the job's chunks.

    Raises TrainingFailedError, CheckpointError, DiskFullError.
    """
    trainer, every = residence.trainer(wanted, note), wanted.training.state_every
    for chunk in wanted.job.chunks[len(trainer.learned) :]:
        trainer.learn(chunk, report, note)
        reach("training.chunk_trained")
        if every is not None and len(trainer.learned) % every == 0:
            note("stores the trainer's state")
            publish_state(trainer.write_state, len(trainer.learned), wanted.states, wanted.mark)
            reach("training.state_stored")
    return trainer


def hand_over(wanted: ChunkJob, residence: Residence, report: StepListener, note: Note) -> TrainingResult:
    """Trains on the job's chunks and publishes the weights for the engines; the trainer goes on with the next job.

    Before the first step of an iteration the engines keep its policy.
    """
    job, training = wanted.job, wanted.training
    assert job.hand_over is not None
    trainer = learn_chunks(wanted, residence, report, note)
    if not trainer.steps:
        return TrainingResult(job.policy, (), dict(trainer.dropped))
    folder, name = Path(job.hand_over), f"step-{len(trainer.steps):06d}"
    dtype = checkpoint_files.stored_dtype(training, inspect_model(Path(job.policy.path)).dtype, gpu=wanted.gpu)

    def write(directory: Path) -> None:
        note("writes the weights for the engines")
        trainer.write_policy(directory)
        note("measures the canary of the weights")
        checkpoint_files.seal_with_canary(directory, training, wanted.model, dtype=dtype, engines_on_gpu=wanted.gpu)

    digest = checkpoints.publish(write, folder, name)
    if not training.keep_synced:
        for older in sorted(folder.glob("step-*"))[:-KEPT_STEPS]:
            shutil.rmtree(older, ignore_errors=True)
    handed = Checkpoint(job.policy.number, job.policy.iteration, str(folder / name), digest, len(trainer.steps))
    return TrainingResult(handed, trainer.steps, dict(trainer.dropped))


def verify_policies(job: TrainingJob, note: Note) -> None:
    """Verifies the checkpoints that a job needs. Raises CheckpointError."""
    named = (job.policy, job.reference, *((job.initial,) if job.initial is not None else ()), *job.earlier)
    for needed in dict.fromkeys(named):  # often one checkpoint is several
        note(f"verifies {needed.path}")
        checkpoints.verify(Path(needed.path), needed.digest)
    reach("training.begun")
