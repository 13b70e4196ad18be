"""A training job: preference pairs in, a verified checkpoint out. Runs in the training process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from eva.config import Model, Training
from eva.errors import TrainingFailedError
from eva.runtime.failpoints import reach
from eva.types import Checkpoint, TrainingJob, TrainingResult, TrainingStep
from workers.models.model_folder import BYTES, inspect_model, require_template, resolve_model
from workers.training import checkpoint_files, checkpoints
from workers.training.distribution import optimise_on_devices
from workers.training.job_lock import training_lock
from workers.training.optimisation import OptimisationResult, Report, optimise, silence_libraries


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
    digest = checkpoints.publish(write, folder, name)
    return Checkpoint(0, 0, str(folder / name), digest)


def run_job(
    job: TrainingJob, training: Training, model: Model, *, engines_on_gpu: bool = False, report: Report | None = None
) -> TrainingResult:
    """Trains `job.policy` on the job's pairs and publishes the result. A valid checkpoint of this job is kept.

    A job that ended early starts again from the policy: equal pairs and an equal seed give equal weights. One job at a
    time trains in a run's folder (see `training_lock`).

    `report(step, total_steps)` is called after every optimiser step.
    Raises TrainingFailedError, CheckpointError, ConfigError, DiskFullError.
    """
    with training_lock(Path(job.folder), job.fence) as check:
        target = Path(job.folder) / checkpoints.checkpoint_name(job.number)
        manifest = checkpoints.valid_manifest(target)
        if manifest is not None:
            return read_result(job, training, manifest.digest)
        digest = _train_and_publish(job, training, model, target, engines_on_gpu, _checked(check, report))
        return read_result(job, training, digest)


def _checked(check: Callable[[], None], report: Report | None) -> Report:
    """Returns a report that first checks, after every step, whether the job may go on."""

    def checked(step: TrainingStep, total: int) -> None:
        check()
        if report is not None:
            report(step, total)

    return checked


def _train_and_publish(
    job: TrainingJob, training: Training, model: Model, target: Path, engines_on_gpu: bool, report: Report
) -> str:
    for needed in dict.fromkeys((job.policy, job.reference)):  # often one checkpoint is both
        checkpoints.verify(Path(needed.path), needed.digest)
    reach("training.begun")
    silence_libraries()
    facts = inspect_model(Path(job.policy.path))
    if training.enabled:
        # With several devices, this process itself has none.
        gpu = torch.cuda.is_available() if training.devices == 1 else engines_on_gpu
        optimised = _train(job, training, model, report, gpu=gpu)
        steps, dropped, policy = optimised.steps, optimised.dropped, optimised.policy
        dtype = checkpoint_files.stored_dtype(training, facts.dtype, gpu=gpu)
    else:
        steps, dropped, policy, dtype = (), {}, None, facts.dtype
    reach("training.trained")

    def write(directory: Path) -> None:
        if policy is None:
            checkpoint_files.copy_model(facts, directory)
        else:
            checkpoint_files.write_policy(policy, facts.path, directory, dtype)
        checkpoint_files.seal_with_canary(directory, training, model, dtype=dtype, engines_on_gpu=engines_on_gpu)
        checkpoint_files.write_record(
            directory,
            {
                "job": _identity(job, training),
                "dropped": dropped,
                "steps": [{"step": step.step, "values": dict(step.values)} for step in steps],
            },
        )

    needed_bytes = 0 if policy is None else facts.parameters * BYTES[dtype]
    return checkpoints.publish(write, target.parent, target.name, needed_bytes=needed_bytes)


def read_result(job: TrainingJob, training: Training, digest: str) -> TrainingResult:
    """Reads the record of a published checkpoint. Raises TrainingFailedError if another job made it."""
    target = Path(job.folder) / checkpoints.checkpoint_name(job.number)
    record = json.loads((target / checkpoint_files.TRAINING).read_text())
    wanted = _identity(job, training)
    other = [key for key, value in wanted.items() if record["job"].get(key) != value]
    if other:
        raise TrainingFailedError(
            f"{target} was made by another training job: its {', '.join(other)} differ",
            expected="the checkpoint of this job",
            next_move=f"Move {target} away and resume",
        )
    steps = tuple(TrainingStep(row["step"], row["values"]) for row in record["steps"])
    return TrainingResult(Checkpoint(job.number, job.iteration, str(target), digest), steps, record["dropped"])


def _train(
    job: TrainingJob, training: Training, model: Model, report: Report | None, *, gpu: bool
) -> OptimisationResult:
    if training.devices == 1:
        return optimise(job, training, model, report)
    return optimise_on_devices(job, training, model, report, gpu=gpu)


def _identity(job: TrainingJob, training: Training) -> dict[str, Any]:
    """Everything that determines the outcome of a job; digests of manifests stand for weights."""
    pairs = hashlib.sha256(Path(job.pairs_path).read_bytes()).hexdigest() if training.enabled else ""
    return {
        "number": job.number,
        "iteration": job.iteration,
        "policy": job.policy.digest,
        "reference": job.reference.digest,
        "pairs": pairs,
        "seed": job.seed,
        "training": training.model_dump(mode="json", exclude={"timeout_s"}),
    }
