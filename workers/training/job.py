"""A training job: preference pairs in, a verified checkpoint out. Runs in the training process."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from eva.config import Model, Training
from eva.errors import TrainingFailedError
from eva.runtime.failpoints import reach
from eva.runtime.full_disk import full_disk_errors
from eva.runtime.worker_reports import Note, StepListener, ignore_note
from eva.solver.served_adapters import serves_adapters
from eva.types import Checkpoint, TrainingJob, TrainingResult, TrainingStep
from workers.models.model_folder import BYTES, inspect_model, require_template, resolve_model
from workers.training import checkpoint_files, checkpoints
from workers.training.chunks.chunk_job import ChunkJob, Residence, hand_over, learn_chunks, verify_policies
from workers.training.chunks.resident import pairs_digest
from workers.training.distribution import TrainedPolicy, train_on_devices
from workers.training.job_lock import training_lock
from workers.training.optimisation import no_pair_left, optimise, silence_libraries


def publish_model(model: Model, training: Training, folder: Path, *, engines_on_gpu: bool = False) -> Checkpoint:
    """Publishes the run's model as checkpoint 0 below `folder`. A valid one is kept.

    Raises ModelError, DiskFullError.
    """
    facts = inspect_model(resolve_model(model.path, model.revision))
    require_template(facts, model)

    def write(directory: Path) -> None:
        checkpoint_files.copy_model(facts, directory, model.chat_template)
        checkpoint_files.seal_with_canary(directory, training, model, dtype=facts.dtype, engines_on_gpu=engines_on_gpu)

    silence_libraries()
    name = checkpoints.checkpoint_name(0)
    with full_disk_errors(folder):
        digest = checkpoints.publish(write, folder, name)
    return Checkpoint(0, 0, str(folder / name), digest)


def run_job(
    job: TrainingJob,
    training: Training,
    model: Model,
    *,
    engines_on_gpu: bool = False,
    report: StepListener | None = None,
    note: Note = ignore_note,
    residence: Residence | None = None,
) -> TrainingResult:
    """Trains `job.policy` on the job's pairs and publishes the result. A valid checkpoint of this job is kept.

    A job that ended early starts again from the policy: equal pairs and an equal seed give equal weights. One job at a
    time trains in a run's folder (see `training_lock`). A job of chunks goes on where the trainer in the `residence`
    stands, and leaves it there if the job hands its weights over.

    `engines_on_gpu`: the training has GPUs, too. `report(step, total_steps)` is called after every optimiser step, and
    `note` between them. Raises TrainingFailedError, CheckpointError, ConfigError, DiskFullError.
    """
    residence = residence or Residence()
    learning = ChunkJob(job, training, model, _iteration_identity(job, training), engines_on_gpu)
    silence_libraries()
    with full_disk_errors(Path(job.folder)), training_lock(Path(job.folder), job.fence) as check:
        if job.hand_over is not None:
            return hand_over(learning, residence, _checked(check, report), note)
        target = Path(job.folder) / checkpoints.checkpoint_name(job.number)
        note("looks for the checkpoint of an earlier attempt")
        manifest = checkpoints.valid_manifest(target)
        if manifest is not None:
            residence.leave()
            return read_result(job, training, manifest.digest)
        digest = _train_and_publish(learning, residence, _checked(check, report), note)
        residence.leave()
        shutil.rmtree(learning.states, ignore_errors=True)
        return read_result(job, training, digest)


def _checked(check: Callable[[], None], report: StepListener | None) -> StepListener:
    """Returns a report that first checks, after every step, whether the job may go on."""

    def checked(step: TrainingStep, total: int) -> None:
        check()
        if report is not None:
            report(step, total)

    return checked


def _train_and_publish(learning: ChunkJob, residence: Residence, report: StepListener, note: Note) -> str:
    job, training, model, gpu = learning.job, learning.training, learning.model, learning.gpu
    if not job.chunks:
        verify_policies(job, note)
    facts = inspect_model(Path(job.policy.path))
    Path(job.folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=job.folder, prefix=".training-") as scratch:
        if job.chunks:
            trainer = learn_chunks(learning, residence, report, note)
            if not trainer.steps:
                raise no_pair_left(training, trainer.dropped)
            trained = TrainedPolicy(trainer.steps, dict(trainer.dropped), trainer.write_policy)
            dtype = checkpoint_files.stored_dtype(training, facts.dtype, gpu=gpu)
        elif training.enabled:
            trained = _train(job, training, model, Path(scratch), report, note, gpu=gpu)
            dtype = checkpoint_files.stored_dtype(training, facts.dtype, gpu=gpu)
        else:
            trained = TrainedPolicy((), {}, lambda folder: checkpoint_files.copy_model(facts, folder))
            dtype = facts.dtype
        reach("training.trained")

        def write(directory: Path) -> None:
            note("writes the checkpoint")
            trained.write(directory)
            note("measures the checkpoint's canary")
            checkpoint_files.seal_with_canary(directory, training, model, dtype=dtype, engines_on_gpu=gpu)
            checkpoint_files.write_record(
                directory,
                {
                    "job": _identity(job, training),
                    "dropped": trained.dropped,
                    "steps": [{"step": step.step, "values": dict(step.values)} for step in trained.steps],
                },
            )

        needed_bytes = facts.parameters * BYTES[dtype] if training.enabled else 0
        return checkpoints.publish(
            write, Path(job.folder), checkpoints.checkpoint_name(job.number), needed_bytes=needed_bytes
        )


def read_result(job: TrainingJob, training: Training, digest: str) -> TrainingResult:
    """Reads the record of a published checkpoint. Raises TrainingFailedError if another job made it."""
    target = Path(job.folder) / checkpoints.checkpoint_name(job.number)
    record = json.loads((target / checkpoint_files.TRAINING).read_text())
    return read_record(job, training, record, str(target), digest)


def read_record(
    job: TrainingJob, training: Training, record: Mapping[str, Any], place: str, digest: str
) -> TrainingResult:
    """Returns what the record of the checkpoint at `place` says. Raises TrainingFailedError if another job made it."""
    wanted = _identity(job, training)
    # Keys that an older eva did not know had what is now their default.
    stored = record["job"] | {"training": _decisive(Training.model_validate(record["job"].get("training", {})))}
    other = [key for key, value in wanted.items() if stored.get(key) != value]
    if other:
        raise TrainingFailedError(
            f"{place} was made by another training job: its {', '.join(other)} differ",
            expected="the checkpoint of this job",
            next_move=f"Move {place} away and resume",
        )
    steps = tuple(TrainingStep(row["step"], row["values"]) for row in record["steps"])
    return TrainingResult(Checkpoint(job.number, job.iteration, place, digest), steps, record["dropped"])


def _train(
    job: TrainingJob, training: Training, model: Model, scratch: Path, report: StepListener, note: Note, *, gpu: bool
) -> TrainedPolicy:
    if gpu or training.devices > 1:
        return train_on_devices(job, training, model, scratch, report, note, gpu=gpu)
    optimised = optimise(job, training, model, report, note)
    policy, update = optimised.policy, optimised.update
    return TrainedPolicy(
        optimised.steps,
        optimised.dropped,
        lambda folder: checkpoint_files.write_trained(policy, update, job, training, folder, gpu=gpu),
    )


def _identity(job: TrainingJob, training: Training) -> dict[str, Any]:
    """Everything that determines the outcome of a job; digests of manifests stand for weights."""
    pairs = pairs_digest(job.pairs_path) if training.enabled and not job.chunks else ""
    chunks = {"chunks": [pairs_digest(chunk.pairs_path) for chunk in job.chunks]} if job.chunks else {}
    initial = {} if job.initial is None else {"initial": job.initial.digest}
    earlier = {"earlier": [policy.digest for policy in job.earlier]} if job.earlier else {}
    return {
        **initial,
        **earlier,
        "number": job.number,
        "iteration": job.iteration,
        "policy": job.policy.digest,
        "reference": job.reference.digest,
        "pairs": pairs,
        "seed": job.seed,
        "training": _decisive(training),
        **chunks,
        # jobs of preference losses have the record that they had before there were others
        **({} if job.sampling is None else {"sampling": asdict(job.sampling)}),
    }


def _iteration_identity(job: TrainingJob, training: Training) -> dict[str, Any]:
    """Everything but the pairs that determines the outcome of a job of chunks; empty for another job."""
    whole = _identity(job, training) if job.chunks else {}
    return {key: value for key, value in whole.items() if key not in ("pairs", "chunks")}


def _decisive(training: Training) -> dict[str, Any]:
    """Returns the keys that can change the trained weights. What a job without chunks records has no key for them."""
    without = {"timeout_s", "state_every", "keep_synced"} | ({"sync_every"} if training.sync_every is None else set())
    keys = training.model_dump(mode="json", exclude=without)
    if training.lora is not None and not serves_adapters(training):
        del keys["lora"]["serve"]  # such a job has the record that it had before adapters were served
    return keys
