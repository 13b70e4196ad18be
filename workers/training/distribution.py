"""A training job on several devices by Ray Train: each process trains on its part of every global batch."""

from __future__ import annotations

import json
import os
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
from ray.train import RunConfig, ScalingConfig
from ray.train import TrainingFailedError as RayTrainingFailedError
from ray.train.torch import TorchConfig, TorchTrainer

from eva.config import Model, Training
from eva.errors import EvaError, TrainingFailedError
from eva.types import TrainingJob, TrainingStep
from workers.training import checkpoint_files
from workers.training.optimisation import OptimisationResult, Report, optimise, silence_libraries

_STEPS, _DROPPED, _POLICY = "steps.jsonl", "dropped.json", "policy"
_POLL_S = 0.2
# Processes that have just ended release their devices after a moment.
_PATIENCE_S = 30.0


def optimise_on_devices(
    job: TrainingJob, training: Training, model: Model, report: Report | None, *, gpu: bool
) -> OptimisationResult:
    """`optimise` on `training.devices` devices, which share the run's folder with this process.

    A last batch that does not fill every device is filled with rows of the first batch, so that no row is dropped.
    Raises TrainingFailedError and what `optimise` raises.
    """
    Path(job.folder).mkdir(parents=True, exist_ok=True)
    if gpu:
        _require_devices(training.devices)
    with tempfile.TemporaryDirectory(dir=job.folder, prefix=".training-") as scratch, ThreadPoolExecutor(1) as pool:
        trainer = TorchTrainer(
            train_on_this_device,
            train_loop_config={"job": job, "training": training, "model": model, "scratch": scratch},
            torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
            # No cores are reserved: engines and trainer take turns on them.
            scaling_config=ScalingConfig(
                num_workers=training.devices, use_gpu=gpu, resources_per_worker={"GPU": 1} if gpu else {"CPU": 0.001}
            ),
            run_config=RunConfig(name="job", storage_path=scratch),
        )
        heard = _follow(pool.submit(trainer.fit), Path(scratch) / _STEPS, report)
        dropped = json.loads((Path(scratch) / _DROPPED).read_text())
        return OptimisationResult(tuple(heard), dropped, checkpoint_files.load_policy(Path(scratch) / _POLICY))


def _require_devices(needed: int) -> None:
    """Waits for free devices. Without this, Ray Train would wait for ever for devices that the engines hold."""
    deadline = time.monotonic() + _PATIENCE_S
    while (free := ray.available_resources().get("GPU", 0)) < needed:
        if time.monotonic() > deadline:
            raise TrainingFailedError(
                f"training.devices is {needed}, but {free:g} GPUs are free beside engines and rewarder",
                expected="enough free GPUs",
                next_move="Lower fleet.engines or training.devices",
            )
        time.sleep(1.0)


def train_on_this_device(config: dict[str, Any]) -> None:
    """Runs in each process. The first process writes steps, dropped rows and weights."""
    job, scratch, first = config["job"], Path(config["scratch"]), ray.train.get_context().get_world_rank() == 0
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // config["training"].devices))
    silence_libraries()
    with (scratch / _STEPS).open("a", encoding="utf-8") as lines:

        def note(step: TrainingStep, total: int) -> None:
            if first:
                lines.write(json.dumps([step.step, dict(step.values), total]) + "\n")
                lines.flush()

        optimised = optimise(job, config["training"], config["model"], note)
    if first:
        (scratch / _POLICY).mkdir()
        checkpoint_files.write_policy(optimised.policy, Path(job.policy.path), scratch / _POLICY, "float32")
        (scratch / _DROPPED).write_text(json.dumps(dict(optimised.dropped)))


def _follow(fitting: Future[Any], file: Path, report: Report | None) -> list[TrainingStep]:
    """Returns the steps, and reports each when it is written. Raises what ended the job."""
    steps: list[TrainingStep] = []
    while True:
        done = fitting.done()
        lines = file.read_text(encoding="utf-8").split("\n")[:-1] if file.is_file() else []
        for number, values, total in map(json.loads, lines[len(steps) :]):
            steps.append(TrainingStep(number, values))
            if report is not None:
                report(steps[-1], total)
        if done:
            _result(fitting)
            return steps
        time.sleep(_POLL_S)


def _result(fitting: Future[Any]) -> None:
    try:
        fitting.result()  # bounded: it is done
    except RayTrainingFailedError as error:
        failures = getattr(error, "worker_failures", {})
        ours = next((failure for failure in failures.values() if isinstance(failure, EvaError)), None)
        if ours is not None:
            raise ours from error
        raise TrainingFailedError(
            f"The training on several devices failed: {error}",
            next_move="Read the trainer's log, or set training.devices to 1",
        ) from error
