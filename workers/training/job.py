"""The preference-optimisation job: pairs in, a verified checkpoint out. Runs in a process that has torch."""

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
from workers.training.job_lock import sole_job
from workers.training.optimisation import Optimised, Report, be_quiet, optimise


def publish_model(model: Model, training: Training, folder: Path, *, engines_on_gpu: bool = False) -> Checkpoint:
    """Publish the given model as checkpoint 0 below `folder`; one that is valid already is kept.

    Raises ModelError, DiskFullError.
    """
    facts = inspect_model(resolve_model(model.path, model.revision))
    require_template(facts, model)

    def write(directory: Path) -> None:
        checkpoint_files.copy_model(facts, directory, model.chat_template)
        checkpoint_files.seal_with_canary(directory, training, model, dtype=facts.dtype, engines_on_gpu=engines_on_gpu)

    be_quiet()
    name = checkpoints.checkpoint_name(0)
    digest = checkpoints.publish(write, folder, name)
    return Checkpoint(0, 0, str(folder / name), digest)


def run_job(
    job: TrainingJob, training: Training, model: Model, *, engines_on_gpu: bool = False, report: Report | None = None
) -> TrainingResult:
    """Train `job.policy` on the job's pairs and publish it; a valid checkpoint of this very job is returned.

    A job that ended before its checkpoint was whole starts again from the policy: equal pairs and seed give equal
    weights. One job at a time trains in a run's folder (see `claims`).

    `report(step, total_steps)` is called after every optimiser step.
    Raises TrainingFailedError, CheckpointError, ConfigError, DiskFullError.
    """
    with sole_job(Path(job.folder), job.fence) as check:
        target = Path(job.folder) / checkpoints.checkpoint_name(job.number)
        if not checkpoints.is_valid(target):
            _train_and_publish(job, training, model, target, engines_on_gpu, _checked(check, report))
        return read_trained(job, training)


def _checked(check: Callable[[], None], report: Report | None) -> Report:
    """Between steps is when a job looks whether it is still the run's."""

    def checked(step: TrainingStep, total: int) -> None:
        check()
        if report is not None:
            report(step, total)

    return checked


def _train_and_publish(
    job: TrainingJob, training: Training, model: Model, target: Path, engines_on_gpu: bool, report: Report
) -> None:
    for needed in (job.policy, job.reference):
        checkpoints.verify(Path(needed.path), needed.digest)
    reach("training.begun")
    be_quiet()
    facts = inspect_model(Path(job.policy.path))
    if training.enabled:
        # With several devices this process has none of them.
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
    checkpoints.publish(write, target.parent, target.name, needed_bytes=needed_bytes)


def read_trained(job: TrainingJob, training: Training) -> TrainingResult:
    """What a published checkpoint says of its training. Raises CheckpointError if another job made it."""
    target = Path(job.folder) / checkpoints.checkpoint_name(job.number)
    digest = checkpoints.verify(target).digest
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


def _train(job: TrainingJob, training: Training, model: Model, report: Report | None, *, gpu: bool) -> Optimised:
    if training.devices == 1:
        return optimise(job, training, model, report)
    return optimise_on_devices(job, training, model, report, gpu=gpu)


def _identity(job: TrainingJob, training: Training) -> dict[str, Any]:
    """What decides the outcome of a job; the weights of its policies are named by their manifests."""
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
